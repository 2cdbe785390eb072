// Times the losses beside NT-Xent as shares of the machine's FMA peak, and NT-Xent at 8192 x 128 as the yardstick: the others are to
// keep 80 % of its share. Not part of any test.
//
//   cpu_losses_bench [threads = 2] [seconds for each figure = 0.5] [name filter]
//
// FLOP floor in products of rows x other rows x columns, 2 FLOP each: forward 1, forward and backward 4 (the similarities again, and
// the coefficients applied to both sides), half of that for one matrix with itself; 1 and 3 for losses of one pass (SigLIP, Barlow
// Twins). An autograd framework, which keeps the matrix of similarities, needs 3.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "contrastive_kernels.h"

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

struct Rows {
  Rows(int64_t rows, int64_t cols, unsigned seed) : data(rows * cols), gradient(rows * cols), matrix{data.data(), rows, cols} {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (float& value : data) value = normal(random);
  }
  std::vector<float> data, gradient;
  ck_matrix matrix;
};

}  // namespace

int main(int count, char** arguments) {
  const int threads = count > 1 ? std::atoi(arguments[1]) : 2;
  const double seconds = count > 2 ? std::atof(arguments[2]) : 0.5;
  const std::string filter = count > 3 ? arguments[3] : "";
  double peak = ck_measure_peak(threads) / 1e9;
  std::printf("%d threads: peak %.1f GFLOP/s\n%-44s %10s %10s %8s\n", threads, peak, "kernel", "min ms", "median ms", "% peak");
  // products: of rows x other rows x columns; 0: no share is taken.
  const auto row = [&](const std::string& name, double products, auto&& run) {
    if (name.find(filter) == std::string::npos) return;
    std::vector<double> times;
    run();
    const double end = now() + seconds;
    do {
      const double start = now();
      run();
      times.push_back(now() - start);
    } while (now() < end || times.size() < 3);
    std::sort(times.begin(), times.end());
    peak = std::max(peak, ck_measure_peak(threads) / 1e9);
    std::printf("%-44s %10.3f %10.3f %8.1f\n", name.c_str(), times[0] * 1e3, times[times.size() / 2] * 1e3,
                2 * products / times[0] / peak / 1e7);
    std::fflush(stdout);
  };

  ck_options options = {};
  options.temperature = 0.1;
  options.normalize = 1;
  options.threads = threads;
  ck_result result;
  const int64_t shapes[][2] = {{512, 128}, {8192, 128}, {4096, 512}};
  for (const auto& shape : shapes) {
    const int64_t n = shape[0], d = shape[1];
    const double product = static_cast<double>(n) * n * d;
    Rows x(n, d, 1), y(n, d, 2), other(n, d, 3);
    std::vector<int32_t> labels(n);
    for (int64_t i = 0; i < n; ++i) labels[i] = static_cast<int32_t>(i % 100);
    options.weight = 1.0 / n;
    {
      options.stats = 1;
      const std::string end = " " + std::to_string(n) + "x" + std::to_string(d);
      for (int gradients = 0; gradients < 2; ++gradients) {
        const auto to = [&](Rows& rows) { return gradients ? rows.gradient.data() : nullptr; };
        const std::string what = (gradients ? " f+b" : " f") + end;
        const double products = gradients ? 4 : 1;
        row("ntXent" + what, gradients ? 2 * product : 0.5 * product,
            [&] { ck_nt_xent(&x.matrix, 0, &options, nullptr, nullptr, to(x), &result, nullptr); });
        ck_info_nce_pairs pairs = {};
        pairs.in_batch = 1;
        const auto info_nce = [&](const char* name, double walks, const ck_matrix* negatives) {
          row(name + what, walks * products * product, [&] {
            ck_info_nce(&x.matrix, &y.matrix, negatives, &pairs, &options, nullptr, nullptr, to(x), to(y), negatives ? to(other) : nullptr,
                        &result, nullptr);
          });
        };
        info_nce("infoNce", 1, nullptr);
        info_nce("infoNce negatives", 2, &other.matrix);
        pairs.query_labels = pairs.key_labels = labels.data();
        info_nce("infoNce labels", 1, nullptr);
        pairs.query_labels = pairs.key_labels = nullptr;
        pairs.symmetric = 1;
        info_nce("infoNce symmetric", 1, nullptr);
        for (const auto& variant : {std::pair<const char*, int>("out", CK_SUP_CON_OUT), {"pair", CK_SUP_CON_PAIR}})
          row(std::string("supCon ") + variant.first + what, 0.5 * products * product,
              [&] { ck_sup_con(&x.matrix, labels.data(), variant.second, &options, nullptr, nullptr, to(x), &result, nullptr); });
        row("dcl" + what, 2 * products * product,
            [&] { ck_dcl(&x.matrix, &y.matrix, 0, &options, nullptr, nullptr, to(x), to(y), &result, nullptr); });
        const double one_pass = (gradients ? 3 : 1) * product;
        row("sigLip" + what, one_pass, [&] { ck_sig_lip(&x.matrix, &y.matrix, -10, &options, nullptr, to(x), to(y), &result, nullptr); });
        row("crossUniformity" + what, one_pass,
            [&] { ck_cross_uniformity(&x.matrix, &y.matrix, 2, &options, to(x), to(y), &result, nullptr); });
      }
    }
  }
  {
    const int64_t n = 8192, d = 2048;
    const double product = static_cast<double>(d) * d * n;
    Rows a(n, d, 1), b(n, d, 2);
    row("barlowTwins f+b 8192x2048", 3 * product,
        [&] { ck_barlow_twins(&a.matrix, &b.matrix, 0.005, &options, a.gradient.data(), b.gradient.data(), &result, nullptr); });
    row("vicReg f+b 8192x2048", 3 * product,
        [&] { ck_vic_reg(&a.matrix, &b.matrix, 25, 25, 1, &options, a.gradient.data(), b.gradient.data(), &result, nullptr); });
  }
  {
    const int64_t n = 4096, others = 8192, d = 128, k = 10;
    Rows x(n, d, 1), y(others, d, 2);
    std::vector<int32_t> indices(n * k);
    std::vector<float> similarities(n * k), matrix(n * others);
    const double product = static_cast<double>(n) * others * d;
    row("nearest 10 of 8192, 4096x128", product,
        [&] { ck_nearest(&x.matrix, &y.matrix, k, 0, &options, indices.data(), similarities.data(), nullptr); });
    const auto instead = [&](const char* name, auto&& sort) {
      row(name, product, [&] {
        ck_cosine_similarity(&x.matrix, &y.matrix, &options, matrix.data(), nullptr);
        std::vector<int32_t> order(others);
        for (int64_t i = 0; i < n; ++i) {
          for (int64_t j = 0; j < others; ++j) order[j] = static_cast<int32_t>(j);
          const float* s = matrix.data() + i * others;
          sort(order, [&](int32_t a, int32_t b) { return s[a] > s[b]; });
        }
      });
    };
    instead("nearest by matrix and sort instead", [](auto& order, auto&& before) { std::sort(order.begin(), order.end(), before); });
    instead("nearest by matrix and partial sort instead",
            [](auto& order, auto&& before) { std::partial_sort(order.begin(), order.begin() + 10, order.end(), before); });
  }
  return 0;
}
