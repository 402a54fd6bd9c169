// Images side by side in one file: PNG (stored, not compressed: no library needed) or PPM/PGM, which is read, too.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace gantool {

struct Picture {
  std::size_t width, height, channels;  // 1: grey, 3: RGB, 4: RGBA
  std::vector<std::uint8_t> bytes;      // rows from the top
};

// `count` images (height, width, channels) in rows, as square as they go; empty places stay black.
inline Picture grid(const std::uint8_t* images, std::size_t count, std::size_t height, std::size_t width,
                    std::size_t channels) {
  const auto columns = static_cast<std::size_t>(std::ceil(std::sqrt(static_cast<double>(count))));
  const std::size_t rows = (count + columns - 1) / columns, stride = width * channels;
  Picture picture{columns * width, rows * height, channels, {}};
  picture.bytes.resize(columns * rows * height * stride);
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t y = 0; y < height; ++y) {
      const std::uint8_t* from = images + (i * height + y) * stride;
      const std::size_t row = i / columns * height + y, place = (row * columns + i % columns) * stride;
      std::copy(from, from + stride, picture.bytes.begin() + static_cast<std::ptrdiff_t>(place));
    }
  }
  return picture;
}

namespace detail {

inline void big_endian(std::string& out, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift & 0xFF);
}

inline std::uint32_t crc32(const std::string& data) {
  std::uint32_t crc = 0xFFFFFFFF;
  for (const char byte : data) {
    crc ^= static_cast<std::uint8_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320 : 0);
  }
  return ~crc;
}

inline void chunk(std::string& png, const std::string& type, const std::string& data) {
  big_endian(png, static_cast<std::uint32_t>(data.size()));
  png += type + data;
  big_endian(png, crc32(type + data));
}

// zlib (RFC 1950) around stored blocks (RFC 1951): what PNG asks for, without compressing
inline std::string stored(const std::string& data) {
  std::string out = "\x78\x01";
  std::size_t start = 0;
  do {
    const std::size_t size = std::min<std::size_t>(65535, data.size() - start);
    out += static_cast<char>(start + size == data.size());  // the last block
    for (const std::size_t word : {size, ~size}) {
      out += static_cast<char>(word & 0xFF);
      out += static_cast<char>(word >> 8 & 0xFF);
    }
    out.append(data, start, size);
    start += size;
  } while (start < data.size());
  std::uint32_t a = 1, b = 0;  // Adler-32
  for (const char byte : data) {
    a = (a + static_cast<std::uint8_t>(byte)) % 65521;
    b = (b + a) % 65521;
  }
  big_endian(out, b << 16 | a);
  return out;
}

}  // namespace detail

// `texts`: keyword and UTF-8 text of iTXt chunks, not compressed.
inline std::string png(const Picture& picture, const std::vector<std::pair<std::string, std::string>>& texts = {}) {
  std::string out("\x89PNG\r\n\x1a\n", 8), header, rows;
  detail::big_endian(header, static_cast<std::uint32_t>(picture.width));
  detail::big_endian(header, static_cast<std::uint32_t>(picture.height));
  const char colour = picture.channels == 1 ? 0 : picture.channels == 3 ? 2 : 6;
  header += {8, colour, 0, 0, 0};
  const std::size_t stride = picture.width * picture.channels;
  for (std::size_t y = 0; y < picture.height; ++y) {
    rows += '\0';  // no filter
    rows.append(reinterpret_cast<const char*>(picture.bytes.data()) + y * stride, stride);
  }
  detail::chunk(out, "IHDR", header);
  for (const auto& [keyword, text] : texts) detail::chunk(out, "iTXt", keyword + std::string(5, '\0') + text);
  detail::chunk(out, "IDAT", detail::stored(rows));
  detail::chunk(out, "IEND", "");
  return out;
}

// The picture of a PPM or PGM file (P6, P5; 8 bits); nothing where the text is none.
inline std::optional<Picture> from_ppm(const std::string& file) {
  std::istringstream header(file);
  std::string magic;
  std::size_t numbers[3] = {};  // width, height, the highest level
  header >> magic;
  for (std::size_t& number : numbers) {
    while (header >> std::ws && header.peek() == '#') header.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
    header >> number;
  }
  const std::size_t channels = magic == "P6" ? 3 : 1, most = std::size_t{1} << 24;
  if (!header || (magic != "P5" && magic != "P6") || numbers[2] != 255 || numbers[0] > most || numbers[1] > most) return {};
  const std::size_t size = numbers[0] * numbers[1] * channels, start = static_cast<std::size_t>(header.tellg()) + 1;
  if (size == 0 || file.size() < start + size) return {};
  return Picture{numbers[0], numbers[1], channels, {file.begin() + static_cast<std::ptrdiff_t>(start),
                                                    file.begin() + static_cast<std::ptrdiff_t>(start + size)}};
}

// PGM for grey, PPM for RGB.
inline std::string ppm(const Picture& picture) {
  const std::string size = std::to_string(picture.width) + " " + std::to_string(picture.height);
  std::string out = (picture.channels == 1 ? "P5\n" : "P6\n") + size + "\n255\n";
  return out.append(reinterpret_cast<const char*>(picture.bytes.data()), picture.bytes.size());
}

}  // namespace gantool
