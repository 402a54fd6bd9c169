// What pictures say of where they come from. The constants were filled in when the kit was made; empty: nothing.
#pragma once

#include <cstdint>
#include <iomanip>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace gantool {

// XMP: that a trained model made them (IPTC, DigitalSourceType)
inline constexpr const char* xmp = "%%{xmp}";
// JSON of the kit's model; and the SHA-256 of its weights, by which its manifest is known
inline constexpr const char* model = "%%{about}";
inline constexpr const char* weights = "%%{weights}";

// Keywords and texts for `png`, of images first … first+count-1 of `seed`. `manifest`: that of the file that made them;
// of one that is not the kit's model, pictures say only that a model made them.
inline std::vector<std::pair<std::string, std::string>> provenance(const std::string& manifest, std::int64_t seed,
                                                                   std::int64_t first, std::int64_t count,
                                                                   std::optional<std::int64_t> label,
                                                                   const std::map<std::string, double>& values = {}) {
  std::vector<std::pair<std::string, std::string>> texts;
  if (*xmp == '\0') return texts;
  texts.emplace_back("XML:com.adobe.xmp", xmp);
  if (manifest.find('"' + std::string(weights) + '"') == std::string::npos) return texts;
  std::string json = model;
  json.pop_back();  // the closing brace
  json += ", \"seed\": " + std::to_string(seed) + ", \"first\": " + std::to_string(first) +
          ", \"count\": " + std::to_string(count);
  if (label) json += ", \"label\": " + std::to_string(*label);
  if (!values.empty()) {
    std::ostringstream numbers;
    for (const auto& [name, number] : values) {
      numbers << (numbers.tellp() ? ", " : "") << std::quoted(name) << ": " << std::setprecision(9) << number;
    }
    json += ", \"values\": {" + numbers.str() + '}';
  }
  texts.emplace_back("gantool", json + '}');
  return texts;
}

}  // namespace gantool
