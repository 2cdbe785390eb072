// The losses beside NT-Xent against float64: sizes where blocks, jobs and blocks of dimensions end, temperatures where rows are
// repaired, the same bits on any number of threads, and nothing written by a call that fails. The families of inputs are the
// TypeScript tests' (test/kernels). Exit code 77 when this machine lacks the instruction set of CONTRASTIVE_KERNELS_ISA.
#include "losses_reference.hpp"
#include "support.hpp"

using namespace support;
using reference::Candidate;
using reference::Gradient;
using reference::Pairs;

namespace {

struct Output {
  int status = -1;
  ck_result result = {};
  ck_error error = {};
  std::vector<float> gradients[3];
  std::vector<int32_t> indices;

  bool same_bits(const Output& other) const {
    return status == other.status && std::memcmp(&result, &other.result, sizeof result) == 0 && gradients[0] == other.gradients[0] &&
           gradients[1] == other.gradients[1] && gradients[2] == other.gradients[2] && indices == other.indices;
  }
};

// A loss on up to three matrices, as the C functions are called.
struct Case {
  std::string name;
  std::vector<Matrix> inputs;
  double temperature;
  double weight;
  std::function<int(const ck_matrix* in, const ck_options& options, Output& out)> call;
};

Output run(const Case& c, int threads, const volatile int32_t* cancel = nullptr) {
  Output out;
  ck_matrix in[3] = {};
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    in[i] = view(c.inputs[i]);
    out.gradients[i].assign(c.inputs[i].data.size(), -7);
  }
  ck_options o = options(c.temperature, threads, true, c.weight);
  o.cancel = cancel;
  out.status = c.call(in, o, out);
  return out;
}

// Same bits on any number of threads; a call that fails writes nothing. Returns the output on two threads.
Output check(const Case& c) {
  const Output out = run(c, 2);
  expect(out.status == CK_OK, c.name + ": status " + text(out.status) + " " + out.error.message);
  for (int threads : {1, 3, 5}) expect(out.same_bits(run(c, threads)), c.name + ": other bits on " + text(threads) + " threads");
  const int32_t cancel = 1;
  const Output cancelled = run(c, 2, &cancel);
  expect(cancelled.status == CK_CANCELLED, c.name + ": cancelled, status " + text(cancelled.status));
  for (size_t i = 0; i < c.inputs.size(); ++i)
    expect(cancelled.gradients[i] == std::vector<float>(c.inputs[i].data.size(), -7), c.name + ": a cancelled call wrote");
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    Case bad = c;
    Matrix& m = bad.inputs[i];
    m.data[(m.rows - 1) * m.cols + m.cols / 2] = NAN;
    const Output failed = run(bad, 2);
    expect(failed.status == CK_NON_FINITE && failed.error.argument == static_cast<int>(i) && failed.error.row == m.rows - 1 &&
               failed.error.column == m.cols / 2,
           c.name + ": a NaN in input " + text(i) + ": status " + text(failed.status) + ", argument " + text(failed.error.argument) +
               ", row " + text(failed.error.row));
    for (size_t g = 0; g < c.inputs.size(); ++g)
      expect(failed.gradients[g] == std::vector<float>(c.inputs[g].data.size(), -7), c.name + ": a failed call wrote");
  }
  return out;
}

void expect_temperature(const Output& got, double sum, double size, const Case& c, double tol) {
  const double factor = c.weight / (c.temperature * c.temperature);
  expect_within(std::fabs(got.result.temperature_gradient + factor * sum), tol * factor * size + 1e-300, TEMPERATURE,
                c.name + " temperature gradient");
}

std::string size_of(const Matrix& m) { return " " + text(m.rows) + "x" + text(m.cols); }

struct InfoNceSetting {
  bool in_batch, symmetric, labels;
  int mode;  // -1: no negatives
};

void info_nce(int64_t n, int64_t keys, int64_t d, double temperature, const InfoNceSetting& setting, std::mt19937& random) {
  Case c;
  c.inputs = {random_matrix(n, d, random), random_matrix(keys, d, random)};
  for (int64_t i = 0; i < n * d; ++i) c.inputs[1].data[i] = static_cast<float>(0.6 * c.inputs[1].data[i] + c.inputs[0].data[i]);
  const int64_t each = 3, negative_rows = setting.mode == CK_NEGATIVES_PAIRED ? n * each : n + 7;
  if (setting.mode >= 0) c.inputs.push_back(random_matrix(negative_rows, d, random));
  c.temperature = temperature;
  c.weight = 1.0 / n;
  c.name = "infoNce" + size_of(c.inputs[0]) + " temperature " + text(temperature) + " mode " + text(setting.mode) +
           (setting.symmetric ? " symmetric" : "") + (setting.labels ? " labels" : "");
  std::vector<int32_t> positives(n), indices(n * each), query_labels(n), key_labels(keys);
  for (int64_t i = 0; i < n; ++i) positives[i] = static_cast<int32_t>(i);
  std::swap(positives[0], positives[n - 1]);
  for (int32_t& index : indices) index = static_cast<int32_t>(random() % negative_rows);
  for (int32_t& label : query_labels) label = static_cast<int32_t>(random() % 5);
  for (int32_t& label : key_labels) label = static_cast<int32_t>(random() % 5);
  c.call = [&](const ck_matrix* in, const ck_options& options, Output& out) {
    ck_info_nce_pairs pairs = {};
    pairs.positives = positives.data();
    pairs.in_batch = setting.in_batch;
    pairs.symmetric = setting.symmetric;
    pairs.negative_mode = std::max(setting.mode, 0);
    pairs.per_query = each;
    pairs.negative_indices = setting.mode == CK_NEGATIVES_INDEXED ? indices.data() : nullptr;
    pairs.query_labels = setting.labels ? query_labels.data() : nullptr;
    pairs.key_labels = setting.labels ? key_labels.data() : nullptr;
    return ck_info_nce(&in[0], &in[1], setting.mode < 0 ? nullptr : &in[2], &pairs, &options, nullptr, nullptr, out.gradients[0].data(),
                       out.gradients[1].data(), setting.mode < 0 ? nullptr : out.gradients[2].data(), &out.result, &out.error);
  };
  const Output got = check(c);

  Pairs with_key(c.inputs[0], c.inputs[1], true), with_negatives(c.inputs[0], c.inputs.back(), true);
  const double half = setting.symmetric ? 0.5 : 1;
  const auto negative = [&](int64_t i, int64_t j) { return !setting.labels || query_labels[i] != key_labels[j]; };
  double loss = 0;
  for (int64_t i = 0; i < n; ++i) {
    std::vector<Candidate> row, column;
    for (int64_t j = 0; j < keys && setting.in_batch; ++j)
      if (j != positives[i] && negative(i, j)) row.push_back({&with_key, i, j});
    for (int64_t j = 0; j < n && setting.symmetric; ++j)
      if (j != i && negative(j, positives[i])) column.push_back({&with_key, j, positives[i]});
    if (setting.mode == CK_NEGATIVES_SHARED)
      for (int64_t j = 0; j < negative_rows; ++j) row.push_back({&with_negatives, i, j});
    for (int64_t k = 0; k < each && setting.mode > CK_NEGATIVES_SHARED; ++k)
      row.push_back({&with_negatives, i, setting.mode == CK_NEGATIVES_PAIRED ? i * each + k : indices[i * each + k]});
    const Candidate positive = {&with_key, i, positives[i]};
    loss += half * reference::one_positive(positive, row, temperature, half);
    if (setting.symmetric) loss += half * reference::one_positive(positive, column, temperature, half);
  }
  const double tol = tolerance(temperature), factor = c.weight / temperature;
  expect_loss(got.result.loss, loss, tol, c.name);
  Gradient of_query = with_key.of_x(factor);
  if (setting.mode >= 0) {
    Pairs both = with_key;
    for (size_t i = 0; i < both.by_x.size(); ++i) {
      both.size_x[i] += with_negatives.size_x[i];
      for (int64_t k = 0; k < d; ++k) both.by_x[i][k] += with_negatives.by_x[i][k];
    }
    of_query = both.of_x(factor);
    expect_gradient(got.gradients[2], with_negatives.of_y(factor), tol, c.name + " negatives");
  }
  expect_gradient(got.gradients[0], of_query, tol, c.name + " query");
  expect_gradient(got.gradients[1], with_key.of_y(factor), tol, c.name + " key");
  expect_temperature(got, with_key.temperature_sum + with_negatives.temperature_sum,
                     with_key.temperature_size + with_negatives.temperature_size, c, tol);
}

// Keys that are zero at their ends, each kind in `kind` rows one after the other: the products that leave zeros out are the very same.
void sparse_keys(int64_t n, int64_t kind, int64_t d, double temperature, bool symmetric, std::mt19937& random) {
  const Matrix query = random_matrix(n, d, random);
  Matrix key = random_matrix(4 * kind, d, random);
  const int64_t spans[][2] = {{0, d / 2}, {d / 2, d}, {d / 3, d / 3 + 1}, {0, 0}};
  for (int64_t j = 0; j < key.rows; ++j)
    for (int64_t k = 0; k < d; ++k)
      if (k < spans[j / kind][0] || k >= spans[j / kind][1]) key.data[j * d + k] = 0;
  const std::string what = "infoNce of sparse keys" + size_of(query) + " temperature " + text(temperature);
  const auto call = [&](int32_t sparse, int threads, std::vector<float>& of_query, std::vector<float>& of_key) {
    of_query.assign(query.data.size(), -7);
    of_key.assign(key.data.size(), -7);
    const ck_matrix q = view(query), k = view(key);
    ck_info_nce_pairs pairs = {};
    pairs.in_batch = 1;
    pairs.symmetric = symmetric;
    pairs.sparse_keys = sparse;
    ck_options o = options(temperature, threads);
    ck_result result;
    ck_error error;
    expect(ck_info_nce(&q, &k, nullptr, &pairs, &o, nullptr, nullptr, of_query.data(), of_key.data(), nullptr, &result, &error) == CK_OK,
           what);
    return result.loss;
  };
  std::vector<float> want_query, want_key, got_query, got_key;
  const double want = call(0, 1, want_query, want_key);
  for (int threads : {1, 3}) {
    expect(call(1, threads, got_query, got_key) == want && got_query == want_query, what + ": loss and gradient of the queries");
    bool same = true;
    for (int64_t j = 0; j < key.rows; ++j)
      for (int64_t k = spans[j / kind][0]; k < spans[j / kind][1]; ++k) same = same && got_key[j * d + k] == want_key[j * d + k];
    expect(same, what + ": gradient of the keys");
  }
}

// Further candidates, bits of ck_also.
void also(int64_t n, int64_t d, int32_t bits, double temperature, std::mt19937& random) {
  Case c;
  c.inputs = {random_matrix(n, d, random), random_matrix(n, d, random)};
  for (int64_t i = 0; i < n * d; ++i) c.inputs[1].data[i] = static_cast<float>(0.6 * c.inputs[1].data[i] + c.inputs[0].data[i]);
  c.temperature = temperature;
  c.weight = 1.0 / n;
  c.name = "infoNce" + size_of(c.inputs[0]) + " also " + text(bits) + " temperature " + text(temperature);
  c.call = [&](const ck_matrix* in, const ck_options& options, Output& out) {
    ck_info_nce_pairs pairs = {};
    pairs.in_batch = 1;
    pairs.also = bits;
    return ck_info_nce(&in[0], &in[1], nullptr, &pairs, &options, nullptr, nullptr, out.gradients[0].data(), out.gradients[1].data(),
                       nullptr, &out.result, &out.error);
  };
  const Output got = check(c);
  Pairs between(c.inputs[0], c.inputs[1], true), queries(c.inputs[0], c.inputs[0], true), keys(c.inputs[1], c.inputs[1], true);
  double loss = 0, similarities = 0;
  int64_t count = 0;
  for (int64_t i = 0; i < n; ++i) {
    std::vector<Candidate> others;
    for (int64_t j = 0; j < n; ++j) {
      if (j == i) continue;
      others.push_back({&between, i, j});
      if (bits & CK_ALSO_QUERIES) others.push_back({&queries, i, j});
      if (bits & CK_ALSO_QUERIES_OF_KEY) others.push_back({&between, j, i});
      if (bits & CK_ALSO_OTHER_KEYS_OF_KEY) others.push_back({&keys, i, j});
    }
    for (const Candidate& other : others) similarities += other.pairs->s(other.i, other.j);
    count += static_cast<int64_t>(others.size());
    if (bits & CK_ALSO_QUERIES_OF_KEY) others.push_back({&between, i, i});
    loss += reference::one_positive({&between, i, i}, others, temperature, 1);
  }
  const auto with = [&](Pairs one, const Pairs& same) {
    for (int64_t i = 0; i < n; ++i)
      for (const bool x : {true, false}) {
        reference::add_scaled(one.by_x[i], 1, (x ? same.by_x : same.by_y)[i]);
        reference::add_scaled(one.by_y[i], 1, (x ? same.by_x : same.by_y)[i]);
        one.size_x[i] += (x ? same.size_x : same.size_y)[i];
        one.size_y[i] += (x ? same.size_x : same.size_y)[i];
      }
    return one;
  };
  const double tol = tolerance(temperature), factor = c.weight / temperature;
  expect_loss(got.result.loss, loss, tol, c.name);
  expect_gradient(got.gradients[0], with(between, queries).of_x(factor), tol, c.name + " query");
  expect_gradient(got.gradients[1], with(between, keys).of_y(factor), tol, c.name + " key");
  expect_temperature(got, between.temperature_sum + queries.temperature_sum + keys.temperature_sum,
                     between.temperature_size + queries.temperature_size + keys.temperature_size, c, tol);
  expect_within(std::fabs(got.result.negative_similarity - similarities / static_cast<double>(count)), 1e-6, LOSS, c.name + " similarity");
}

// Where a library cannot.
void also_refused(std::mt19937& random) {
  const Matrix x = random_matrix(4, 3, random);
  const ck_matrix m = view(x);
  ck_info_nce_pairs pairs = {};
  pairs.in_batch = 1;
  pairs.also = CK_ALSO_QUERIES;
  const ck_options o = options(0.1, 1);
  ck_result result;
  ck_error error;
  expect(ck_info_nce(&m, &m, nullptr, &pairs, &o, nullptr, nullptr, nullptr, nullptr, nullptr, &result, &error) == CK_UNAVAILABLE,
         "infoNce also, refused");
}

void sup_con(int64_t rows, int64_t d, int classes, int variant, double temperature, std::mt19937& random) {
  Case c;
  c.inputs = {random_matrix(rows, d, random)};
  c.temperature = temperature;
  c.weight = 1.0 / rows;
  c.name =
      "supCon" + size_of(c.inputs[0]) + " variant " + text(variant) + " temperature " + text(temperature) + " classes " + text(classes);
  std::vector<int32_t> labels(rows);
  for (int32_t& label : labels) label = static_cast<int32_t>(random() % classes) - 1;
  for (int64_t i = 0; i < rows; ++i) c.inputs[0].data[i * d + (labels[i] + 1) % d] += 3;
  c.call = [&](const ck_matrix* in, const ck_options& options, Output& out) {
    return ck_sup_con(&in[0], labels.data(), variant, &options, nullptr, nullptr, out.gradients[0].data(), &out.result, &out.error);
  };
  const Output got = check(c);
  Pairs pairs(c.inputs[0], c.inputs[0], true);
  double loss = 0;
  for (int64_t i = 0; i < rows; ++i) loss += reference::sup_con_row(pairs, i, labels, variant, temperature);
  const double tol = tolerance(temperature);
  expect_loss(got.result.loss, loss, tol, c.name);
  expect_gradient(got.gradients[0], pairs.of_both(c.weight / temperature), tol, c.name);
  expect_temperature(got, pairs.temperature_sum, pairs.temperature_size, c, tol);
}

void dcl(int64_t n, int64_t d, double temperature, std::mt19937& random) {
  Case c;
  c.inputs = {random_matrix(n, d, random), random_matrix(n, d, random)};
  c.temperature = temperature;
  c.weight = 0.5 / n;
  c.name = "dcl" + size_of(c.inputs[0]) + " temperature " + text(temperature);
  c.call = [](const ck_matrix* in, const ck_options& options, Output& out) {
    return ck_dcl(&in[0], &in[1], 0, &options, nullptr, nullptr, out.gradients[0].data(), out.gradients[1].data(), &out.result, &out.error);
  };
  const Output got = check(c);
  Matrix all = c.inputs[0];
  all.rows = 2 * n;
  all.data.insert(all.data.end(), c.inputs[1].data.begin(), c.inputs[1].data.end());
  Pairs pairs(all, all, true);
  double loss = 0;
  for (int64_t i = 0; i < 2 * n; ++i) {
    reference::Row z;
    const int64_t p = (i + n) % (2 * n);
    for (int64_t j = 0; j < 2 * n; ++j)
      if (j != i && j != p) z.push_back(pairs.s(i, j) / temperature);
    const double log_sum = reference::log_sum_exp(z);
    for (int64_t j = 0; j < 2 * n; ++j)
      if (j != i && j != p) pairs.add(i, j, std::exp(pairs.s(i, j) / temperature - log_sum));
    pairs.add(i, p, -1);
    loss += log_sum - pairs.s(i, p) / temperature;
  }
  const double tol = tolerance(temperature);
  expect_within(std::fabs(got.result.loss - loss), tol * std::max(2.0 * n, std::fabs(loss)), LOSS, c.name + " loss");
  Gradient want = pairs.of_both(c.weight / temperature);
  std::vector<float> gradient = got.gradients[0];
  gradient.insert(gradient.end(), got.gradients[1].begin(), got.gradients[1].end());
  expect_gradient(gradient, want, tol, c.name);
  expect_temperature(got, pairs.temperature_sum, pairs.temperature_size, c, tol);
}

// axes: rows along axes of their own, so that every pair is decided alike.
void sig_lip(int64_t n, int64_t d, double temperature, double bias, std::mt19937& random, bool axes = false) {
  Case c;
  c.inputs = {random_matrix(n, d, random, axes ? 1e-3 : 1), random_matrix(n, d, random, axes ? 1e-3 : 1)};
  for (int64_t i = 0; i < n && axes; ++i) c.inputs[0].data[i * d + i % d] = 1;
  for (int64_t i = 0; i < n * d; ++i) c.inputs[1].data[i] = static_cast<float>(0.1 * c.inputs[1].data[i] + c.inputs[0].data[i]);
  c.temperature = temperature;
  c.weight = 1.0 / n;
  c.name = "sigLip" + size_of(c.inputs[0]) + " temperature " + text(temperature) + " bias " + text(bias);
  c.call = [&](const ck_matrix* in, const ck_options& options, Output& out) {
    return ck_sig_lip(&in[0], &in[1], bias, &options, nullptr, out.gradients[0].data(), out.gradients[1].data(), &out.result, &out.error);
  };
  const Output got = check(c);
  Pairs pairs(c.inputs[0], c.inputs[1], true);
  double loss = 0, slope = 0, size = 0;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) {
      const double sign = i == j ? -1 : 1, z = sign * (pairs.s(i, j) / temperature + bias);
      loss += reference::softplus(z);
      slope += sign * reference::sigmoid(z);
      size += reference::sigmoid(z);
      pairs.add(i, j, sign * reference::sigmoid(z));
    }
  const double tol = tolerance(temperature);
  expect_loss(got.result.loss, loss, tol, c.name);
  expect_gradient(got.gradients[0], pairs.of_x(c.weight / temperature), tol, c.name + " x");
  expect_gradient(got.gradients[1], pairs.of_y(c.weight / temperature), tol, c.name + " y");
  expect_temperature(got, pairs.temperature_sum, pairs.temperature_size, c, tol);
  expect_within(std::fabs(got.result.bias_gradient - c.weight * slope), tol * c.weight * size, TEMPERATURE, c.name + " bias gradient");
}

void cross_uniformity(int64_t n, int64_t others, int64_t d, double t, std::mt19937& random) {
  Case c;
  c.inputs = {random_matrix(n, d, random), random_matrix(others, d, random)};
  c.temperature = c.weight = 1;
  c.name = "crossUniformity" + size_of(c.inputs[0]) + " t " + text(t);
  c.call = [&](const ck_matrix* in, const ck_options& options, Output& out) {
    return ck_cross_uniformity(&in[0], &in[1], t, &options, out.gradients[0].data(), out.gradients[1].data(), &out.result, &out.error);
  };
  const Output got = check(c);
  Pairs pairs(c.inputs[0], c.inputs[1], true);
  double total = 0;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < others; ++j) total += std::exp(2 * t * (pairs.s(i, j) - 1));
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < others; ++j) pairs.add(i, j, std::exp(2 * t * (pairs.s(i, j) - 1)) / total);
  const double tol = tolerance(1 / (2 * t)), loss = std::log(total / (static_cast<double>(n) * others));
  expect_within(std::fabs(got.result.loss - loss), tol * std::max(1.0, std::fabs(loss)), LOSS, c.name + " loss");
  expect_gradient(got.gradients[0], pairs.of_x(2 * t), tol, c.name + " x");
  expect_gradient(got.gradients[1], pairs.of_y(2 * t), tol, c.name + " y");
}

// Losses of columns against finite differences of the float64 formula would be slow: here only that the bits do not depend on the
// threads, and that the loss is the formula's.
void columns(int64_t n, int64_t d, bool barlow, std::mt19937& random, double scale = 1) {
  Case c;
  c.inputs = {random_matrix(n, d, random, scale), random_matrix(n, d, random, scale)};
  c.temperature = c.weight = 1;
  c.name = (barlow ? "barlowTwins" : "vicReg") + size_of(c.inputs[0]);
  c.call = [&](const ck_matrix* in, const ck_options& options, Output& out) {
    float *a = out.gradients[0].data(), *b = out.gradients[1].data();
    return barlow ? ck_barlow_twins(&in[0], &in[1], 0.01, &options, a, b, &out.result, &out.error)
                  : ck_vic_reg(&in[0], &in[1], 3, 2, 5, &options, a, b, &out.result, &out.error);
  };
  const Output got = check(c);
  std::vector<reference::Row> u[2];
  double hinge = 0, covariance = 0, apart = 0;
  for (int v = 0; v < 2; ++v)
    for (int64_t k = 0; k < d; ++k) {
      reference::Row column(n);
      double mean = 0, variance = 0;
      for (int64_t i = 0; i < n; ++i) mean += c.inputs[v].row(i)[k] / static_cast<double>(n);
      for (int64_t i = 0; i < n; ++i) column[i] = c.inputs[v].row(i)[k] - mean;
      variance = reference::dot(column, column);
      for (double& value : column) value /= barlow ? std::sqrt(variance / n + 1e-5) : 1;
      hinge += std::max(0.0, 1 - std::sqrt(variance / (n - 1) + 1e-4)) / d;
      u[v].push_back(column);
    }
  double loss = 0;
  for (int64_t k = 0; k < d; ++k)
    for (int64_t l = 0; l < d; ++l) {
      const double product = reference::dot(u[0][k], u[1][l]) / n;
      loss += k == l ? (1 - product) * (1 - product) : 0.01 * product * product;
      for (int v = 0; v < 2 && k != l; ++v) covariance += std::pow(reference::dot(u[v][k], u[v][l]) / (n - 1), 2) / d;
    }
  for (int64_t i = 0; i < n * d; ++i) apart += std::pow(static_cast<double>(c.inputs[0].data[i]) - c.inputs[1].data[i], 2) / (n * d);
  if (!barlow) loss = 3 * apart + hinge + 5 * covariance;
  expect_loss(got.result.loss, loss, 1e-6, c.name);
}

void nearest(int64_t n, int64_t others, int64_t d, int64_t k, bool exclude, std::mt19937& random) {
  Case c;
  c.inputs = {random_matrix(n, d, random), random_matrix(others, d, random)};
  for (int64_t i = 0; i < d && others > 3; ++i) c.inputs[1].data[2 * d + i] = c.inputs[1].data[i];  // a tie
  c.temperature = c.weight = 1;
  c.name = "nearest" + size_of(c.inputs[0]) + " of " + text(others) + ", k " + text(k);
  c.call = [&](const ck_matrix* in, const ck_options& options, Output& out) {
    std::vector<float> similarities(n * k, -7);
    out.indices.assign(n * k, -7);
    const int status = ck_nearest(&in[0], &in[1], k, exclude, &options, out.indices.data(), similarities.data(), &out.error);
    if (status == CK_OK) out.gradients[2] = similarities;
    return status;
  };
  const Output got = check(c);
  const Pairs pairs(c.inputs[0], c.inputs[1], true);
  bool right = true;
  for (int64_t i = 0; i < n; ++i) {
    reference::Row s;
    for (int64_t j = 0; j < others; ++j)
      if (!exclude || j != i) s.push_back(pairs.s(i, j));
    std::sort(s.begin(), s.end(), std::greater<double>());
    for (int64_t place = 0; place < k; ++place) {
      const int32_t j = got.indices[i * k + place];
      right = right && j >= 0 && j < others && !(exclude && j == i) && std::fabs(pairs.s(i, j) - s[place]) < 1e-6 &&
              std::fabs(got.gradients[2][i * k + place] - s[place]) < 1e-6;
      if (place > 0) {
        const float before = got.gradients[2][i * k + place - 1], here = got.gradients[2][i * k + place];
        right = right && (before > here || (before == here && got.indices[i * k + place - 1] < j));
      }
    }
  }
  expect(right, c.name);
}

}  // namespace

int main() {
  char description[200];
  ck_describe(description, sizeof description);
  std::printf("%s\n", description);
  if (std::strstr(description, "\"available\":true") == nullptr) return 77;
  std::mt19937 random(11);
  const InfoNceSetting settings[] = {{true, false, false, -1},
                                     {true, true, false, -1},
                                     {true, true, true, CK_NEGATIVES_SHARED},
                                     {false, false, false, 0},
                                     {true, false, true, CK_NEGATIVES_PAIRED},
                                     {true, true, false, CK_NEGATIVES_INDEXED}};
  for (const InfoNceSetting& setting : settings) {
    for (double temperature : {0.5, 0.07, 0.012, 0.005}) info_nce(97, 131, 33, temperature, setting, random);
    info_nce(40, 40, 600, 0.1, setting, random);
  }
  if (std::strstr(description, "instructionSet") != nullptr) {  // of the CPU library only
    for (int32_t bits = 1; bits < 8; ++bits)
      for (double temperature : {0.5, 0.07, 0.012, 0.005}) also(97, 33, bits, temperature, random);
    also(260, 600, 7, 0.05, random);
    also(1100, 16, 7, 0.1, random);
    also(2, 5, 7, 0.1, random);
  } else {
    also_refused(random);
  }
  for (double temperature : {0.1, 0.005}) {
    sparse_keys(70, 130, 300, temperature, true, random);
    sparse_keys(30, 60, 1100, temperature, false, random);
    sparse_keys(30, 60, 70, temperature, false, random);
    sparse_keys(30, 300, 300, temperature, false, random);
  }
  info_nce(1100, 1130, 16, 0.1, settings[1], random);
  info_nce(1030, 1030, 16, 0.008, settings[2], random);
  for (int variant = 0; variant < 3; ++variant) {
    for (double temperature : {0.5, 0.07, 0.012, 0.005}) sup_con(131, 33, 7, variant, temperature, random);
    sup_con(60, 600, 20, variant, 0.1, random);
    sup_con(400, 20, 1, variant, 0.1, random);
    sup_con(430, 20, 40, variant, 0.1, random);
    sup_con(230, 600, 23, variant, 0.1, random);
    sup_con(1100, 16, 3, variant, 0.1, random);
  }
  for (double temperature : {0.5, 0.07, 0.012, 0.005}) dcl(67, 33, temperature, random);
  dcl(560, 16, 0.1, random);
  for (double temperature : {1.0, 0.1, 0.005}) sig_lip(97, 33, temperature, -10, random);
  sig_lip(64, 600, 0.1, 0, random);
  sig_lip(12, 12, 0.005, -105, random, true);  // every loss far below the range of float32
  sig_lip(1100, 16, 0.1, -10, random);
  for (double t : {0.5, 2.0, 60.0}) cross_uniformity(97, 131, 33, t, random);
  cross_uniformity(1100, 40, 16, 2, random);
  for (bool barlow : {true, false}) {
    columns(130, 97, barlow, random);
    columns(40, 1100, barlow, random);
    columns(1500, 40, barlow, random);
    columns(60, 50, barlow, random, 40);
  }
  nearest(97, 131, 33, 10, true, random);
  nearest(97, 131, 33, 130, true, random);
  nearest(3, 9000, 16, 20, false, random);
  nearest(1100, 1200, 16, 5, true, random);
  std::printf("%d checks, %d failed\n", checks(), failures());
  const char* kinds[] = {"loss", "gradient", "temperature gradient"};
  for (int kind = 0; kind < 3; ++kind)
    std::printf("largest share of the tolerance, %s: %.2f at %s\n", kinds[kind], worst(kind).share, worst(kind).where.c_str());
  return failures() == 0 ? 0 : 1;
}
