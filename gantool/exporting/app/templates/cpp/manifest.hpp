// Numbers of a manifest, and what a person can mend.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace gantool {

// A file that is none, a label that is not there. what() says it in one line.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
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

}  // namespace gantool
