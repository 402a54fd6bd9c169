// A generator exported by gantool as generator.seeded.torchscript.pt, for programs with LibTorch.
//
//     gantool::Generator generator;                     // the file lies where the program runs, or one folder up
//     torch::Tensor images = generator.sample(16, 7);   // uint8 (16, H, W, C), on the CPU, contiguous
//
// Image i of seed s depends on (s, i) alone, whatever the batch it is made in.
#pragma once

#include <torch/script.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace gantool {

// A number by which images are changed, such as a truncation: an input of the generator.
struct Value {
  std::string name;
  double usual, low, high;
};

// What a person can mend: a file that is none, a label that is not there. what() says it in one line.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The generator.seeded.torchscript.pt of the folder in which the program runs, else of the one above.
inline std::string find_model() {
  const std::string name = "generator.seeded.torchscript.pt";
  const std::filesystem::path above = "..";
  for (const auto& path : {std::filesystem::path(name), above / name}) {
    if (std::filesystem::exists(path)) return path.string();
  }
  const auto here = std::filesystem::current_path();
  throw Error("there is no " + name + " in " + here.string() + " nor in " + here.parent_path().string() +
              ": put it there, or name the file");
}

class Generator {
 public:
  static constexpr int64_t max_index = int64_t{1} << 47;
  static constexpr int64_t chunk = 64;  // images a run: larger batches leave the cache of a CPU

  explicit Generator(const std::string& path = find_model(), torch::Device device = torch::kCPU) : device_(device) {
    torch::jit::ExtraFilesMap extra{{"gantool.manifest", ""}};
    try {
      module_ = torch::jit::load(path, device, extra);
      module_.eval();
    } catch (const std::exception& error) {  // c10::Error, std::runtime_error
      throw Error("can't load " + path + ": " + first_line(error));
    }
    if (!module_.find_method("forward") || !module_.find_method("classes")) {
      throw Error(path + " is not a generator.seeded.torchscript.pt of gantool");
    }
    read_inputs();
    manifest_ = extra["gantool.manifest"];
  }

  // How many classes each label has; empty when the generator takes none.
  const std::vector<int64_t>& classes() const { return classes_; }

  // The values that the generator takes.
  const std::vector<Value>& values() const { return values_; }

  // What the file says of itself, as JSON: architecture, training, data, licence.
  const std::string& manifest() const { return manifest_; }

  // Images first … first+count-1 of `seed`: uint8 (count, H, W, C), or float32 (count, C, …) for what is no image.
  // Without a label, image i has class i mod classes; a value that is not given has its default. Throws Error for what
  // there is not.
  torch::Tensor sample(int64_t count, int64_t seed = 0, int64_t first = 0,
                       std::optional<int64_t> label = std::nullopt,
                       const std::map<std::string, double>& values = {}) {
    if (count < 1) throw Error("count is " + std::to_string(count) + ": give 1 or more");
    if (count > max_index || first < 0 || first > max_index - count) {
      throw Error("there are no " + std::to_string(count) + " images from " + std::to_string(first) +
                  " on: they run from 0 to 2**47 - 1");
    }
    if (label && classes_.empty()) throw Error("this generator takes no label");
    for (const int64_t classes : classes_) {
      if (label && (*label < 0 || *label >= classes)) {
        throw Error("label " + std::to_string(*label) + " is not one of 0 to " + std::to_string(classes - 1));
      }
    }
    std::vector<double> numbers;
    for (const Value& value : values_) {
      const auto given = values.find(value.name);
      numbers.push_back(given == values.end() ? value.usual : given->second);
      if (!(numbers.back() >= value.low && numbers.back() <= value.high)) {
        throw Error(value.name + " is " + std::to_string(numbers.back()) + ": it goes from " +
                    std::to_string(value.low) + " to " + std::to_string(value.high));
      }
    }
    for (const auto& [name, number] : values) {
      const auto known = [&](const Value& value) { return value.name == name; };
      if (std::none_of(values_.begin(), values_.end(), known)) throw Error("this generator takes no value " + name);
    }
    const torch::InferenceMode no_gradients;
    const auto integers = torch::TensorOptions().dtype(torch::kInt64).device(device_);
    const auto seeds = torch::full({1}, seed, integers);
    std::vector<torch::Tensor> parts;
    for (int64_t start = 0; start < count; start += chunk) {
      const int64_t from = first + start;
      const auto index = torch::arange(from, from + std::min(chunk, count - start), integers);
      std::vector<torch::jit::IValue> inputs{seeds, index};
      std::size_t labels = 0, others = 0;
      for (const bool is_label : is_label_) {
        if (is_label) {
          inputs.emplace_back(label ? torch::full_like(index, *label) : index.remainder(classes_[labels++]));
        } else {
          inputs.emplace_back(torch::full({index.size(0)}, numbers[others++], index.options().dtype(torch::kFloat32)));
        }
      }
      parts.push_back(run(std::move(inputs)));
    }
    return parts.size() == 1 ? parts.front() : torch::cat(parts);
  }

  // The first line of what LibTorch has to say; the others are a stack trace.
  static std::string first_line(const std::exception& error) {
    const std::string text = error.what();
    return text.substr(0, text.find('\n'));
  }

 private:
  // The labels and values that the file takes after seed and index, in their order. Files of old have no `values`.
  void read_inputs() {
    const auto counts = module_.run_method("classes").toIntVector();
    const auto arguments = module_.get_method("forward").function().getSchema().arguments();
    const auto bounds = module_.find_method("values") ? module_.run_method("values").toListRef().vec()
                                                      : std::vector<torch::jit::IValue>();
    for (std::size_t i = 0; i < counts.size(); ++i) {
      is_label_.push_back(counts[i] > 0);
      if (counts[i] > 0) {
        classes_.push_back(counts[i]);
      } else {
        const auto bound = bounds.at(i).toDoubleVector();
        values_.push_back({arguments.at(i + 3).name(), bound.at(0), bound.at(1), bound.at(2)});  // after self
      }
    }
  }

  torch::Tensor run(std::vector<torch::jit::IValue> inputs) {
    try {
      return module_.forward(std::move(inputs)).toTensor().to(torch::kCPU).contiguous();
    } catch (const std::exception& error) {
      throw Error("the generator failed: " + first_line(error));
    }
  }

  torch::Device device_;
  torch::jit::Module module_;
  std::vector<bool> is_label_;  // of each input after seed and index: a label, else a value
  std::vector<int64_t> classes_;
  std::vector<Value> values_;
  std::string manifest_;
};

}  // namespace gantool
