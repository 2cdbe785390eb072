// A guide of InfoNCE leaves out exactly the pairs that its definition says (policies/guide.hpp, written out again here), so a call with
// one has the bits of the same call with those pairs in a mask: where guides have ties, rows one bit apart, zeros and rows of any length,
// at every edge of blocks and tiles. Run for the CPU library on every instruction set, and for the CUDA sources on the emulation.
#include "support.hpp"

using namespace support;

namespace {

std::string description() {
  char text[200];
  ck_describe(text, sizeof text);
  return text;
}
bool on_emulation() {
  static const bool is = description().find("\"device\"") != std::string::npos;
  return is;
}

NOT_SANITIZED double dot(const float* x, const float* y, int64_t cols) {
  double s[8] = {};
  for (int64_t k = 0; k < cols; ++k) s[k % 8] += static_cast<double>(x[k]) * y[k];
  return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

double cosine(const Matrix& x, int64_t i, const Matrix& y, int64_t j) {
  const double a = std::sqrt(dot(x.row(i), x.row(i), x.cols)), b = std::sqrt(dot(y.row(j), y.row(j), y.cols));
  return a > 0 && b > 0 ? dot(x.row(i), y.row(j), x.cols) / (a * b) : 0;
}

struct Guide {
  Matrix query, key, second;
  int64_t split;
  double margin;
  bool relative;

  const Matrix& side(int64_t j) const { return j < split ? query : second; }
  std::vector<uint8_t> mask(const std::vector<int32_t>& positives) const {
    std::vector<uint8_t> counts(query.rows * key.rows);
    for (int64_t i = 0; i < query.rows; ++i) {
      const double s = cosine(side(positives[i]), i, key, positives[i]);
      const double threshold = relative ? s * (1 - margin) : s - margin;
      for (int64_t j = 0; j < key.rows; ++j) counts[i * key.rows + j] = cosine(side(j), i, key, j) <= threshold;
    }
    return counts;
  }
};

// Every key is the same row but for the last bits of one element: float32 sums cannot tell them apart.
Matrix bits_apart(int64_t rows, int64_t cols, std::mt19937& random) {
  Matrix m = random_matrix(rows, cols, random);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t k = 0; k < cols; ++k) m.data[i * cols + k] = m.row(0)[k];
    float& value = m.data[i * cols + i % cols];
    for (int64_t step = 0; step < i % 5; ++step) value = std::nextafter(value, i % 2 ? INFINITY : -INFINITY);
  }
  return m;
}

struct Output {
  std::vector<float> query, key, per_row, log_sums;
  ck_result result = {};
  bool operator==(const Output& o) const {
    return query == o.query && key == o.key && per_row == o.per_row && log_sums == o.log_sums &&
           std::memcmp(&result, &o.result, sizeof result) == 0;
  }
};

struct Problem {
  Matrix query, key;
  std::vector<int32_t> positives, query_labels, key_labels;

  int call(const ck_info_nce_pairs& pairs, double temperature, int threads, Output& out, ck_error& error) const {
    const ck_matrix x = view(query), y = view(key);
    const ck_options o = options(temperature, threads);
    out.query.assign(query.data.size(), -7);
    out.key.assign(key.data.size(), -7);
    out.per_row.assign(query.rows, -7);
    out.log_sums.assign(query.rows, -7);
    return ck_info_nce(&x, &y, nullptr, &pairs, &o, out.per_row.data(), out.log_sums.data(), out.query.data(), out.key.data(), nullptr,
                       &out.result, &error);
  }
};

void check(const std::string& what, const Problem& p, const Guide& guide, bool symmetric, bool labelled, double temperature) {
  const ck_matrix query = view(guide.query), key = view(guide.key), second = view(guide.second);
  ck_info_nce_pairs pairs = {};
  pairs.positives = p.positives.data();
  pairs.in_batch = 1;
  pairs.symmetric = symmetric;
  if (labelled) {
    pairs.query_labels = p.query_labels.data();
    pairs.key_labels = p.key_labels.data();
  }
  const std::vector<uint8_t> mask = guide.mask(p.positives);
  ck_info_nce_pairs masked = pairs;
  masked.mask = mask.data();
  pairs.guide_query = &query;
  pairs.guide_key = &key;
  if (guide.second.rows > 0) pairs.guide_second_query = &second;
  pairs.guide_split = guide.split;
  pairs.guide_margin = guide.margin;
  pairs.guide_relative = guide.relative;
  Output expected, got;
  ck_error error = {};
  expect(p.call(masked, temperature, 1, expected, error) == CK_OK, what + ": the masked call");
  for (int threads : {1, 2, 5}) {
    if (threads > 1 && on_emulation()) break;  // kernels have threads of their own
    const int status = p.call(pairs, temperature, threads, got, error);
    expect(status == CK_OK && got == expected, what + " on " + text(threads) + " threads: status " + text(status) + ", loss " +
                                                   text(got.result.loss) + " for " + text(expected.result.loss));
  }
  // Besides a mask of the caller's.
  std::vector<uint8_t> own(mask.size());
  for (size_t e = 0; e < own.size(); ++e) own[e] = e % 3 == 0 ? 0 : 255;
  std::vector<uint8_t> both = mask;
  for (size_t e = 0; e < own.size(); ++e) both[e] = both[e] && own[e];
  pairs.mask = own.data();
  masked.mask = both.data();
  const int statuses = p.call(masked, temperature, 2, expected, error) | p.call(pairs, temperature, 2, got, error);
  expect(statuses == CK_OK && got == expected, what + ", and a mask");
  pairs.mask = nullptr;
  // What is not finite is found, by argument, and nothing is written.
  const ck_matrix* const given[] = {&query, &key, pairs.guide_second_query};
  for (int argument = 3; argument < 6; ++argument) {
    const ck_matrix* const matrix = given[argument - 3];
    if (matrix == nullptr) continue;
    float& value = const_cast<float&>(matrix->data[matrix->rows * matrix->cols - 1]);
    const float before = value;
    value = NAN;
    const int status = p.call(pairs, temperature, 2, got, error);
    expect(status == CK_NON_FINITE && error.argument == argument && error.row == matrix->rows - 1 && error.column == matrix->cols - 1,
           what + ": a NaN in argument " + text(argument) + ": status " + text(status) + ", argument " + text(error.argument));
    expect(got.query == std::vector<float>(got.query.size(), -7), what + ": a failed call wrote");
    value = before;
  }
}

// Under emulation and a sanitizer at once a call takes a tenth of a second. Which pairs are left out is seen without; what memory a call
// takes, and when, hardly depends on rows and margins: there six families, one margin each, take every combination of the rest.
bool brief() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return on_emulation();
#else
  return false;
#endif
}

// Multiply-adds from which a family takes one margin instead of all.
constexpr int64_t FULL = 200000;

void test_shape(int64_t n, int64_t keys, int64_t d, int64_t g) {
  std::mt19937 random(static_cast<unsigned>(n * 7 + g));
  Problem p = {random_matrix(n, d, random), random_matrix(keys, d, random), {}, {}, {}};
  for (int64_t i = 0; i < n; ++i) {
    p.positives.push_back(static_cast<int32_t>((i + 2) % keys));
    p.query_labels.push_back(static_cast<int32_t>(i));
  }
  for (int64_t j = 0; j < keys; ++j) p.key_labels.push_back(static_cast<int32_t>(j % 2 ? -1 : j / 2));
  std::vector<Family> all = families();
  all.push_back({"bits apart", [](int64_t rows, int64_t cols, bool, std::mt19937& r) { return bits_apart(rows, cols, r); }});
  if (brief()) all.resize(6);
  const int64_t splits[] = {keys, keys / 2 + 1, 0};
  int turn = 0;
  for (const Family& family : all) {
    const int64_t split = splits[turn % 3];
    Guide guide = {
        random_matrix(n, g, random), family.make(keys, g, false, random), random_matrix(split < keys ? n : 0, g, random), split, 0, false};
    if (turn % 2) guide.query = family.make(n, g, false, random);
    for (const double margin : {0.0, 0.05, -0.3}) {
      if ((brief() || n * keys * (d + g) > FULL) && margin != (turn % 3 == 0 ? 0.0 : turn % 3 == 1 ? 0.05 : -0.3)) continue;
      guide.margin = margin;
      guide.relative = (turn + (margin > 0)) % 2 != 0;
      const std::string what = std::string(family.name) + " guide " + text(n) + " x " + text(keys) + " of " + text(g) + ", split " +
                               text(split) + ", margin " + text(margin) + (guide.relative ? " relative" : "");
      check(what, p, guide, margin > 0, margin < 0, turn % 2 ? 0.5 : 0.005);
    }
    ++turn;
  }
}

// Keys that are one row in another order, before queries whose elements are all equal: cosines that differ by the order in which dot
// products and norms are summed, and by nothing else, so that any other order than the definition's leaves out other pairs.
void test_order(int64_t n, int64_t keys, int64_t g) {
  std::mt19937 random(static_cast<unsigned>(g));
  Problem p = {random_matrix(n, 3, random), random_matrix(keys, 3, random), {}, {}, {}};
  for (int64_t i = 0; i < n; ++i) p.positives.push_back(static_cast<int32_t>(i));
  Guide guide = {{n, g, std::vector<float>(n * g, 1.5f)}, random_matrix(keys, g, random), random_matrix(0, g, random), keys, 0, false};
  float* const first = guide.key.data.data();
  for (int64_t k = 0; k < g; ++k) first[k] = std::ldexp(first[k], static_cast<int>(k % 24));
  for (int64_t j = 1; j < keys; ++j) {
    std::copy(first, first + g, first + j * g);
    std::shuffle(first + j * g, first + (j + 1) * g, random);
  }
  check("one row in " + text(keys) + " orders of " + text(g), p, guide, false, false, 0.5);
}

void test_refusals() {
  const Matrix m = {4, 3, std::vector<float>(12, 1)}, other = {5, 3, std::vector<float>(15, 1)};
  const ck_matrix x = view(m), wrong = view(other);
  ck_options o = options(0.5, 1);
  ck_result result;
  ck_error error = {};
  ck_info_nce_pairs pairs = {};
  pairs.in_batch = 1;
  const auto refused = [&](const ck_matrix* query, const ck_matrix* key, const ck_matrix* second, int64_t split, double margin) {
    pairs.guide_query = query;
    pairs.guide_key = key;
    pairs.guide_second_query = second;
    pairs.guide_split = split;
    pairs.guide_margin = margin;
    const int status = ck_info_nce(&x, &x, nullptr, &pairs, &o, nullptr, nullptr, nullptr, nullptr, nullptr, &result, &error);
    expect(status == CK_OUT_OF_RANGE && error.message[0] != '\0', std::string("a guide that does not fit: ") + error.message);
  };
  refused(&x, nullptr, nullptr, 0, 0);
  refused(nullptr, &x, nullptr, 0, 0);
  refused(&wrong, &x, nullptr, 0, 0);
  refused(&x, &wrong, nullptr, 0, 0);
  refused(&x, &x, &wrong, 2, 0);
  refused(&x, &x, &x, 5, 0);
  refused(&x, &x, &x, -1, 0);
  refused(&x, &x, nullptr, 0, NAN);
}

}  // namespace

int main() {
  if (description().find("\"available\":true") == std::string::npos) return 77;
  test_refusals();
  for (int64_t g : {3, 19, 130}) test_order(37, 61, g);
  test_shape(1, 1, 3, 1);
  test_shape(3, 5, 2, 7);
  test_shape(67, 67, 5, 1);
  test_shape(65, 195, 9, 33);
  test_shape(97, 291, 7, on_emulation() ? 72 : 768);
  test_shape(150, 270, 2, 5);  // on CUDA, more pairs than are decided at once
  if (!on_emulation()) test_shape(193, 200, 300, 130);
  std::printf("%d checks, %d failed\n", checks(), failures());
  return failures() == 0 ? 0 : 1;
}
