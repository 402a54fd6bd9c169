// The generator of an app kit in C++, told as program.py is: program FILE THREADS
#include <ATen/Parallel.h>

#include <chrono>
#include <fstream>
#include <iostream>
#include <sstream>

#include "generator.hpp"

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  try {
    if (const int threads = std::stoi(argv[2])) at::set_num_threads(threads);
    gantool::Generator generator(argv[1]);
    std::string line, command;
    while (std::getline(std::cin, line)) {
      std::istringstream given(line);
      given >> command;
      if (command == "make") {
        int64_t count = 0, seed = 0, first = 0;
        std::string path;
        given >> count >> seed >> first;
        std::getline(given >> std::ws, path);
        const auto images = generator.sample(count, seed, first);
        std::ofstream file(path, std::ios::binary);
        file.write(static_cast<const char*>(images.data_ptr()), static_cast<std::streamsize>(images.nbytes()));
        file.close();
        if (!file) throw std::runtime_error("can't write " + path);
        std::cout << "done" << std::endl;
      } else {
        int64_t batch = 0, runs = 0;
        given >> batch >> runs;
        for (int64_t run = 0; run < runs; ++run) {
          const auto began = std::chrono::steady_clock::now();
          generator.sample(batch, 1, run * batch);
          const std::chrono::duration<double, std::milli> spent = std::chrono::steady_clock::now() - began;
          std::cout << (run ? " " : "") << spent.count();
        }
        std::cout << std::endl;
      }
    }
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
