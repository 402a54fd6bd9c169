// Does this host make the samples that the exporting machine made? The file's manifest tells some of their values.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "generator.hpp"

namespace gantool {

struct SelfTest {
  int64_t images, pixels;  // compared
  int64_t worst;           // levels between a pixel, or a value of a sound or volume, and the manifest's
  int64_t tolerance;       // levels that a host may differ by
};

// The test card of this number, which golden images are made of: uint8 (height, width, channels).
inline torch::Tensor card(int64_t number, const Source& source) {
  const auto y = torch::arange(source.height).view({-1, 1, 1}), x = torch::arange(source.width).view({1, -1, 1});
  const auto levels = x * 7 + y * 5 + torch::arange(source.channels) * 53 + number % 256 * 101;
  const auto blocks = x.div(8, "floor") * 37 + y.div(8, "floor") * 91;
  return levels.bitwise_xor(blocks).bitwise_and(255).to(torch::kUInt8);
}

// Make the manifest's golden images and compare. Throws Error when there are none, or the file is damaged.
inline SelfTest self_test(Generator& generator) {
  const std::string& text = generator.manifest();
  // the last of their names: an option of an architecture may have the same, further up
  detail::Cursor tolerance(text, text.rfind("\"tolerance\":")), cursor(text, text.rfind("\"golden\":"));
  tolerance.key("tolerance");
  SelfTest result{0, 0, 0, tolerance.integer()};
  cursor.key("golden");
  cursor.expect('[');
  if (cursor.take(']')) throw Error("the file has no golden samples: a seed alone decides none");
  do {
    cursor.expect('{');
    const auto number = [&](const char* name) {
      cursor.key(name);
      return cursor.integer();
    };
    const int64_t seed = number("seed"), first = number("first"), count = number("count");
    if (count < 1 || count > 1024) throw Error("the manifest is damaged: export the file again");
    std::vector<torch::Tensor> results;
    for (int64_t i = first; generator.source() && i < first + count; ++i) {
      results.push_back(generator.translate(card(i, *generator.source()), seed, i));
    }
    const auto made = results.empty() ? generator.sample(count, seed, first) : torch::stack(results);
    const auto images = made.to(torch::kInt64);
    result.images += count;
    cursor.key("pixels");
    cursor.expect('[');
    do {  // [number, …, [values]]: of an image its row and column, of a sound its sample, of a volume three places
      int64_t place = 0;
      cursor.expect('[');
      for (int64_t axis = 0; axis < images.dim() - 1; ++axis) {
        const int64_t here = cursor.integer();
        cursor.expect(',');
        if (here < 0 || here >= images.size(axis)) throw Error("a golden value lies outside its sample");
        place = place * images.size(axis) + here;
      }
      cursor.expect('[');
      int64_t channel = 0;
      do {
        if (channel == images.size(-1)) throw Error("a golden pixel has more channels than its sample");
        const int64_t level = images.data_ptr<int64_t>()[place * images.size(-1) + channel++];
        result.worst = std::max(result.worst, std::abs(level - cursor.integer()));
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
