// A generator exported by gantool as generator.seeded.torchscript.pt, for programs with LibTorch.
//
//     gantool::Generator generator;                     // the file lies where the program runs, or one folder up
//     torch::Tensor images = generator.sample(16, 7);   // uint8 (16, H, W, C), on the CPU, contiguous; sounds are
//                                                       // int16 (16, T, C), volumes uint8 (16, D, H, W, 1)
//     torch::Tensor result = generator.translate(picture);   // of a generator that takes a picture: uint8 (H, W, C)
//
// Sample i of seed s depends on (s, i) alone, whatever the batch it is made in.
#pragma once

#include <torch/script.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "manifest.hpp"

namespace gantool {

// What a generator makes.
enum class Kind { image, audio, volume };

// A number by which samples are changed, such as a truncation: an input of the generator.
struct Value {
  std::string name;
  double usual, low, high;
};

// The picture that a generator makes another of, as it was trained, and the sides of the result. A picture's sides are
// any, filled up to multiples of `multiple`; 0: those alone.
struct Source {
  int64_t height, width, channels, multiple, result_height, result_width;
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
    manifest_ = extra["gantool.manifest"];
    read_output();
    read_inputs();
  }

  // How many classes each label has; empty when the generator takes none.
  const std::vector<int64_t>& classes() const { return classes_; }

  // The values that the generator takes.
  const std::vector<Value>& values() const { return values_; }

  // Of a generator that makes a picture of a picture; else nothing.
  const std::optional<Source>& source() const { return source_; }

  Kind kind() const { return kind_; }

  // Of sounds, samples a second; 16,000 where nobody knows, 0 of others.
  int64_t rate() const { return rate_; }

  // What the file says of itself, as JSON: architecture, training, data, licence.
  const std::string& manifest() const { return manifest_; }

  // Samples first … first+count-1 of `seed`: images uint8 (count, H, W, C); sounds int16 (count, T, C), ±32767 for ±1;
  // volumes uint8 (count, D, H, W, 1), filled from 128 on. Without a label, sample i has class i mod classes; a value that is not given has its default. Throws Error for what
  // there is not.
  torch::Tensor sample(int64_t count, int64_t seed = 0, int64_t first = 0,
                       std::optional<int64_t> label = std::nullopt,
                       const std::map<std::string, double>& values = {}) {
    if (source_) throw Error("this generator takes a picture: call translate");
    if (count < 1) throw Error("count is " + std::to_string(count) + ": give 1 or more");
    if (count > max_index || first < 0 || first > max_index - count) {
      throw Error("there are no " + std::to_string(count) + " samples from " + std::to_string(first) +
                  " on: they run from 0 to 2**47 - 1");
    }
    const std::vector<double> numbers = checked(label, values);
    const torch::InferenceMode no_gradients;
    std::vector<torch::Tensor> parts;
    for (int64_t start = 0; start < count; start += chunk) {
      const int64_t from = first + start;
      parts.push_back(run(seed, torch::arange(from, from + std::min(chunk, count - start)), label, numbers));
    }
    return parts.size() == 1 ? parts.front() : torch::cat(parts);
  }

  // What the generator makes of a picture, uint8 (H, W, C): one such, of the same size or scale. Sides that the network
  // can't take are filled up by the last row and column, and the result is cut. `seed` and `index`: of the noise, where
  // the generator has any. Throws Error for a picture that does not fit; the others are as in `sample`.
  torch::Tensor translate(const torch::Tensor& picture, int64_t seed = 0, int64_t index = 0,
                          std::optional<int64_t> label = std::nullopt,
                          const std::map<std::string, double>& values = {}) {
    if (!source_) throw Error("this generator takes no picture: call sample");
    if (index < 0 || index >= max_index) throw Error("index " + std::to_string(index) + " is not one of 0 to 2**47 - 1");
    if (picture.dim() != 3 || picture.scalar_type() != torch::kUInt8 || picture.size(2) != source_->channels) {
      throw Error("a picture is uint8 (height, width, " + std::to_string(source_->channels) + ")");
    }
    const int64_t height = picture.size(0), width = picture.size(1);
    if (height < 1 || width < 1 || (!source_->multiple && (height != source_->height || width != source_->width))) {
      throw Error("the picture has " + std::to_string(width) + "×" + std::to_string(height) +
                  " pixels: this generator takes " + std::to_string(source_->width) + "×" +
                  std::to_string(source_->height));
    }
    const std::vector<double> numbers = checked(label, values);
    const torch::InferenceMode no_gradients;
    const auto filled = [&](int64_t side) {
      const int64_t multiple = std::max<int64_t>(1, source_->multiple);
      return torch::arange((side + multiple - 1) / multiple * multiple).clamp_max(side - 1);
    };
    const auto given = picture.cpu().index_select(0, filled(height)).index_select(1, filled(width)).unsqueeze(0);
    const auto made = run(seed, torch::full({1}, index, torch::kInt64), label, numbers, given.contiguous())[0];
    const auto scaled = [](int64_t side, int64_t to, int64_t from) { return (side * to + from - 1) / from; };
    return made.narrow(0, 0, scaled(height, source_->result_height, source_->height))
        .narrow(1, 0, scaled(width, source_->result_width, source_->width))
        .contiguous();
  }

  // The first line of what LibTorch has to say; the others are a stack trace.
  static std::string first_line(const std::exception& error) {
    const std::string text = error.what();
    return text.substr(0, text.find('\n'));
  }

 private:
  // The values in the order in which the file takes them; throws Error for one, or a label, that there is not.
  std::vector<double> checked(const std::optional<int64_t>& label, const std::map<std::string, double>& values) const {
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
    return numbers;
  }

  // What the file takes after seed and index, in its order. Files of old have no `values`.
  void read_inputs() {
    const auto counts = module_.run_method("classes").toIntVector();
    const auto arguments = module_.get_method("forward").function().getSchema().arguments();
    const auto bounds = module_.find_method("values") ? module_.run_method("values").toListRef().vec()
                                                      : std::vector<torch::jit::IValue>();
    const std::size_t drawn = arguments.size() - 1 - counts.size();  // after self: seed and index, or neither
    seeded_ = drawn > 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
      kinds_.push_back(counts[i]);
      if (counts[i] > 0) {
        classes_.push_back(counts[i]);
      } else if (counts[i] == 0) {
        const auto bound = bounds.at(i).toDoubleVector();
        values_.push_back({arguments.at(1 + drawn + i).name(), bound.at(0), bound.at(1), bound.at(2)});
      } else {
        read_source();
      }
    }
  }

  // What it makes, of the manifest.
  void read_output() {
    const std::size_t at = manifest_.rfind("\"output\":");
    const auto layout = [&](const char* axes) {
      return manifest_.find("\"layout\": \"" + std::string(axes) + '"', at) != std::string::npos;
    };
    if (layout("DHWC")) kind_ = Kind::volume;
    if (!layout("TC")) return;
    kind_ = Kind::audio;
    detail::Cursor cursor(manifest_, at);
    cursor.key("rate");
    rate_ = cursor.integer();
    if (rate_ < 1) rate_ = 16000;
  }

  // Its only input of data in the manifest.
  void read_source() {
    const std::size_t at = manifest_.rfind("\"distribution\": \"data\"");
    Source read{};
    const auto sides = [&](std::size_t from, std::initializer_list<int64_t*> numbers) {
      detail::Cursor cursor(manifest_, from);
      cursor.key("shape");
      cursor.expect('[');
      for (int64_t* number : numbers) {
        *number = cursor.integer();
        cursor.take(',');
      }
    };
    sides(manifest_.rfind("\"shape\":", at), {&read.height, &read.width, &read.channels});
    sides(manifest_.rfind("\"output\":"), {&read.result_height, &read.result_width});
    detail::Cursor multiple(manifest_, at);
    multiple.key("multiple");
    read.multiple = multiple.integer();
    source_ = read;
  }

  torch::Tensor run(int64_t seed, torch::Tensor index, const std::optional<int64_t>& label,
                    const std::vector<double>& numbers, const torch::Tensor& picture = {}) {
    index = index.to(device_);
    std::vector<torch::jit::IValue> inputs;
    if (seeded_) inputs = {torch::full({1}, seed, index.options()), index};
    std::size_t labels = 0, others = 0;
    for (const int64_t kind : kinds_) {
      if (kind > 0) {
        inputs.emplace_back(label ? torch::full_like(index, *label) : index.remainder(classes_[labels++]));
      } else if (kind == 0) {
        inputs.emplace_back(torch::full({index.size(0)}, numbers[others++], index.options().dtype(torch::kFloat32)));
      } else {
        inputs.emplace_back(picture.to(device_));
      }
    }
    try {
      return module_.forward(std::move(inputs)).toTensor().to(torch::kCPU).contiguous();
    } catch (const std::exception& error) {
      throw Error("the generator failed: " + first_line(error));
    }
  }

  torch::Device device_;
  torch::jit::Module module_;
  Kind kind_ = Kind::image;
  int64_t rate_ = 0;
  bool seeded_ = true;           // whether it takes seed and index
  std::vector<int64_t> kinds_;  // of each input after these: how many classes, 0: a value, -1: a picture
  std::vector<int64_t> classes_;
  std::vector<Value> values_;
  std::optional<Source> source_;
  std::string manifest_;
};

}  // namespace gantool
