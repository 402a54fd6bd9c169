// Pictures, sounds or a volume from a generator.seeded.torchscript.pt; `generate --help` tells how.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "files.hpp"
#include "generator.hpp"
#include "picture.hpp"
#include "provenance.hpp"
#include "selftest.hpp"

namespace {

constexpr const char* usage = R"(usage: generate [FILE] [options]

  FILE             a generator.seeded.torchscript.pt; by default the one in this folder, or in the one above
  --input PATH     a .ppm or .pgm file, of a generator that takes a picture
  --seed N         any whole number of 64 bits (default 0)
  --first N        number of the first one (default 0)
  --count N        how many (default 16 images; otherwise 1)
  --label N        class of all, of a conditional generator; without it sample i has class i mod classes
  --value NAME=X   a value of the generator, such as truncation=0.7; may be repeated
  --device NAME    cpu (default), cuda, cuda:1 …
  -o, --out PATH   .png, .ppm or .pgm; of sounds .wav; of a volume .binvox; or .bin for the raw numbers: uint8 or
                   int16, the channels last, in C order (default samples.png, sounds.wav or volume.binvox)
  --self-test      write nothing; compare samples made here with those that the file remembers of its export
)";

// A wrong command line; the exit code is 2, where that of gantool::Error is 1.
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Options {
  std::string file, device = "cpu", input, out;
  int64_t seed = 0, first = 0, count = 0;
  bool counted = false;
  std::optional<int64_t> label;
  std::map<std::string, double> values;
  bool self_test = false;
};

int64_t whole(const std::string& option, const std::string& text) {
  std::size_t used = 0;
  int64_t value = 0;
  try {
    value = std::stoll(text, &used);
  } catch (const std::logic_error&) {  // invalid_argument, out_of_range
    used = 0;
  }
  if (used == 0 || used != text.size()) {
    throw UsageError(option + " takes a whole number of 64 bits, not '" + text + "'");
  }
  return value;
}

std::pair<std::string, double> named(const std::string& text) {
  const std::size_t at = text.rfind('=');
  std::size_t used = 0;
  double number = 0;
  try {
    if (at != std::string::npos) number = std::stod(text.substr(at + 1), &used);
  } catch (const std::logic_error&) {  // invalid_argument, out_of_range
    used = 0;
  }
  if (used == 0 || at + 1 + used != text.size()) throw UsageError("--value takes NAME=NUMBER, not '" + text + "'");
  return {text.substr(0, at), number};
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument.empty() || argument[0] != '-') {
      if (!options.file.empty()) throw UsageError("two files were named: " + options.file + " and " + argument);
      options.file = argument;
      continue;
    }
    const auto value = [&]() -> std::string {
      if (++i == argc) throw UsageError(argument + " needs a value");
      return argv[i];
    };
    if (argument == "--input") {
      options.input = value();
    } else if (argument == "--seed") {
      options.seed = whole(argument, value());
    } else if (argument == "--first") {
      options.first = whole(argument, value());
    } else if (argument == "--count") {
      options.count = whole(argument, value());
      options.counted = true;
    } else if (argument == "--label") {
      options.label = whole(argument, value());
    } else if (argument == "--value") {
      options.values.insert(named(value()));
    } else if (argument == "--device") {
      options.device = value();
    } else if (argument == "-o" || argument == "--out") {
      options.out = value();
    } else if (argument == "--self-test") {
      options.self_test = true;
    } else if (argument == "-h" || argument == "--help") {
      std::cout << usage;
      std::exit(EXIT_SUCCESS);
    } else {
      throw UsageError("there is no option " + argument);
    }
  }
  return options;
}

torch::Device device_of(const std::string& name) {
  try {
    const torch::Device device(name);
    if (device.is_cuda() && !at::hasCUDA()) throw gantool::Error("LibTorch finds no CUDA device here");
    return device;
  } catch (const c10::Error&) {
    throw UsageError("there is no device '" + name + "'");
  }
}

// The contents of the file that the options ask for by its ending.
std::string encoded(const torch::Tensor& images, const gantool::Generator& generator, const Options& options) {
  const std::string& out = options.out;
  const std::string ending = std::filesystem::path(out).extension().string();
  if (ending == ".bin") {
    return std::string(static_cast<const char*>(images.data_ptr()), images.nbytes());
  }
  const auto side = [&](int64_t axis) { return static_cast<std::size_t>(images.size(axis)); };
  const auto made = [&] {
    return gantool::provenance(generator.manifest(), options.seed, options.first, options.count, options.label,
                               options.values);
  };
  if (generator.kind() == gantool::Kind::audio) {
    if (ending != ".wav") throw gantool::Error("sounds can't be written as '" + ending + "': take .wav or .bin");
    return gantool::wav(images.data_ptr<std::int16_t>(), side(0) * side(1), side(2),
                        static_cast<std::uint64_t>(generator.rate()), made());
  }
  if (generator.kind() == gantool::Kind::volume) {
    if (ending != ".binvox") throw gantool::Error("volumes can't be written as '" + ending + "': take .binvox or .bin");
    if (options.count != 1) throw gantool::Error("a .binvox holds one volume: take --count 1, or a .bin");
    return gantool::binvox(images.data_ptr<std::uint8_t>(), side(1), side(2), side(3));
  }
  const auto picture = gantool::grid(images.data_ptr<std::uint8_t>(), side(0), side(1), side(2), side(3));
  const bool grey = picture.channels == 1, colour = picture.channels == 3;
  if (ending == ".png" && (grey || colour || picture.channels == 4)) {
    return gantool::png(picture, made());
  }
  if ((ending == ".ppm" && (grey || colour)) || (ending == ".pgm" && grey)) return gantool::ppm(picture);
  throw gantool::Error("images of " + std::to_string(picture.channels) + " channels can't be written as '" + ending +
                       "': take .png, .ppm, .pgm or .bin");
}

// What becomes of the picture with the noise of images first … first+count-1: uint8 (count, H, W, C).
torch::Tensor translated(gantool::Generator& generator, const Options& options) {
  std::ifstream file(options.input, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  auto picture = gantool::from_ppm(bytes);
  if (!picture) throw gantool::Error(options.input + " is no PPM or PGM file of 8 bits");
  const auto side = [](std::size_t length) { return static_cast<int64_t>(length); };
  const auto pixels = torch::from_blob(picture->bytes.data(),
                                       {side(picture->height), side(picture->width), side(picture->channels)},
                                       torch::kUInt8);
  if (options.count < 1) throw gantool::Error("count is " + std::to_string(options.count) + ": give 1 or more");
  std::vector<torch::Tensor> made;
  for (int64_t i = 0; i < options.count; ++i) {
    made.push_back(generator.translate(pixels, options.seed, options.first + i, options.label, options.values));
  }
  return torch::stack(made);
}

void write(const std::string& path, const std::string& data) {
  std::ofstream file(path, std::ios::binary);
  file.write(data.data(), static_cast<std::streamsize>(data.size()));
  file.close();
  if (!file) throw gantool::Error("can't write " + path);
}

const char* noun(gantool::Kind kind) {
  return kind == gantool::Kind::audio ? "sounds" : kind == gantool::Kind::volume ? "volumes" : "images";
}

int report(const gantool::SelfTest& test, gantool::Kind kind) {
  const bool passed = test.worst <= test.tolerance;
  std::cout << test.pixels << (kind == gantool::Kind::image ? " pixels of " : " values of ") << test.images << ' '
            << noun(kind) << " differ by at most " << test.worst << " level" << (test.worst == 1 ? "" : "s") << ": ";
  if (passed) {
    std::cout << "as exported\n";
  } else {
    std::cout << "other " << noun(kind) << " than were exported\n";
  }
  return passed ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    Options options = parse(argc, argv);
    if (options.file.empty()) options.file = gantool::find_model();
    gantool::Generator generator(options.file, device_of(options.device));
    if (options.self_test) return report(gantool::self_test(generator), generator.kind());
    const bool pictures = generator.kind() == gantool::Kind::image;
    if (!options.counted) options.count = pictures && options.input.empty() ? 16 : 1;
    if (options.out.empty()) {
      options.out = pictures ? "samples.png" : generator.kind() == gantool::Kind::audio ? "sounds.wav" : "volume.binvox";
    }
    const auto images = options.input.empty()
                            ? generator.sample(options.count, options.seed, options.first, options.label, options.values)
                            : translated(generator, options);
    write(options.out, encoded(images, generator, options));
    std::cout << options.out << ": " << options.count << " of seed " << options.seed << ", each";
    for (int64_t axis = 1; axis < images.dim(); ++axis) std::cout << (axis > 1 ? "×" : " ") << images.size(axis);
    std::cout << '\n';
    return EXIT_SUCCESS;
  } catch (const UsageError& error) {
    std::cerr << "generate: " << error.what() << "\nTry: generate --help\n";
    return 2;
  } catch (const std::exception& error) {
    std::cerr << "generate: " << gantool::Generator::first_line(error) << '\n';
    return EXIT_FAILURE;
  }
}
