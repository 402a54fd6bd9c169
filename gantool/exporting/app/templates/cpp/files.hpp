// Sounds and volumes in files: WAV (PCM in 16 bits) and binvox.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace gantool {

namespace detail {

inline void little_endian(std::string& out, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> 8 * i & 0xFF);
}

inline void riff_chunk(std::string& out, const std::string& name, const std::string& data) {
  out += name;
  little_endian(out, data.size(), 4);
  out += data;
  if (data.size() % 2) out += '\0';
}

}  // namespace detail

// A sound, its channels last; `rate` in samples a second. `texts` as `provenance` has them: XMP goes into the chunk
// _PMX, JSON into gant.
inline std::string wav(const std::int16_t* data, std::size_t samples, std::size_t channels, std::uint64_t rate,
                       const std::vector<std::pair<std::string, std::string>>& texts = {}) {
  std::string format, body = "WAVE", values, out;
  detail::little_endian(format, 1, 2);  // PCM
  detail::little_endian(format, channels, 2);
  detail::little_endian(format, rate, 4);
  detail::little_endian(format, 2 * channels * rate, 4);
  detail::little_endian(format, 2 * channels, 2);
  detail::little_endian(format, 16, 2);
  for (std::size_t i = 0; i < samples * channels; ++i) {
    detail::little_endian(values, static_cast<std::uint16_t>(data[i]), 2);
  }
  detail::riff_chunk(body, "fmt ", format);
  for (const auto& [keyword, text] : texts) detail::riff_chunk(body, keyword == "gantool" ? "gant" : "_PMX", text);
  detail::riff_chunk(body, "data", values);
  detail::riff_chunk(out, "RIFF", body);
  return out;
}

// A volume: what has 128 and more is filled. https://www.patrickmin.com/binvox/binvox.html
inline std::string binvox(const std::uint8_t* data, std::size_t depth, std::size_t height, std::size_t width) {
  std::string out = "#binvox 1\ndim " + std::to_string(width) + ' ' + std::to_string(depth) + ' ' +
                    std::to_string(height) + "\ntranslate 0 0 0\nscale 1\ndata\n";
  int run = 0;
  bool value = false;
  const auto end_run = [&] {
    if (run == 0) return;
    out += static_cast<char>(value);
    out += static_cast<char>(run);
    run = 0;
  };
  for (std::size_t x = 0; x < width; ++x) {
    for (std::size_t z = depth; z-- > 0;) {  // to the front
      for (std::size_t y = height; y-- > 0;) {  // upwards
        const bool filled = data[(z * height + y) * width + x] >= 128;
        if (filled != value || run == 255) end_run();
        value = filled;
        ++run;
      }
    }
  }
  end_run();
  return out;
}

}  // namespace gantool
