// Does this host make the images that the exporting machine made? The file's manifest tells some of their pixels.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "generator.hpp"

namespace gantool {

struct SelfTest {
  int64_t images, pixels;  // compared
  int64_t worst;           // levels of 0…255 between a pixel and the manifest's
  int64_t tolerance;       // levels that a host may differ by
};

namespace detail {

// Reads the numbers of a manifest in the order in which gantool writes them, not JSON of any kind.
class Cursor {
 public:
  Cursor(const std::string& text, std::size_t at) : text_(text), at_(at) {}

  bool take(char wanted) {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
    if (at_ == text_.size() || text_[at_] != wanted) return false;
    ++at_;
    return true;
  }

  void expect(char wanted) {
    if (!take(wanted)) throw Error("the manifest is damaged: export the file again");
  }

  void key(const std::string& name) {
    const auto found = at_ < text_.size() ? text_.find('"' + name + "\":", at_) : std::string::npos;
    if (found == std::string::npos) throw Error("the manifest has no " + name + ": export the file again");
    at_ = found + name.size() + 3;
  }

  int64_t integer() {
    take(' ');
    char* end = nullptr;
    const char* start = text_.c_str() + at_;
    const int64_t value = std::strtoll(start, &end, 10);
    if (end == start) throw Error("the manifest is damaged: export the file again");
    at_ += static_cast<std::size_t>(end - start);
    return value;
  }

 private:
  const std::string& text_;
  std::size_t at_;
};

}  // namespace detail

// Make the manifest's golden images and compare. Throws Error when there are none, or the file is damaged.
inline SelfTest self_test(Generator& generator) {
  const std::string& text = generator.manifest();
  // the last of their names: an option of an architecture may have the same, further up
  detail::Cursor tolerance(text, text.rfind("\"tolerance\":")), cursor(text, text.rfind("\"golden\":"));
  tolerance.key("tolerance");
  SelfTest result{0, 0, 0, tolerance.integer()};
  cursor.key("golden");
  cursor.expect('[');
  if (cursor.take(']')) throw Error("the file has no golden images: a seed alone decides none");
  do {
    cursor.expect('{');
    const auto number = [&](const char* name) {
      cursor.key(name);
      return cursor.integer();
    };
    const int64_t seed = number("seed"), first = number("first"), count = number("count");
    if (count < 1 || count > 1024) throw Error("the manifest is damaged: export the file again");
    const auto images = generator.sample(count, seed, first).to(torch::kInt64);
    if (images.dim() != 4) throw Error("this generator makes no images");
    result.images += count;
    cursor.key("pixels");
    cursor.expect('[');
    do {  // [image, row, column, [values]]
      std::vector<int64_t> place;
      cursor.expect('[');
      for (int64_t axis = 0; axis < 3; ++axis) {
        place.push_back(cursor.integer());
        cursor.expect(',');
        if (place.back() < 0 || place.back() >= images.size(axis)) throw Error("a golden pixel lies outside its image");
      }
      cursor.expect('[');
      int64_t channel = 0;
      do {
        if (channel == images.size(3)) throw Error("a golden pixel has more channels than its image");
        const int64_t made = images[place[0]][place[1]][place[2]][channel++].item<int64_t>();
        result.worst = std::max(result.worst, std::abs(made - cursor.integer()));
      } while (cursor.take(','));
      cursor.expect(']');
      cursor.expect(']');
      ++result.pixels;
    } while (cursor.take(','));
    cursor.expect(']');
    cursor.expect('}');
  } while (cursor.take(','));
  return result;
}

}  // namespace gantool
