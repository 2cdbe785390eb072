// Times the CPU library's kernels as a share of the machine's FMA peak, which is measured in the same process on as many
// threads: the yardstick of tuning. Not part of any test.
//
//   cpu_kernels_bench [threads = 2] [seconds for each figure = 0.5] [name filter]
//
// FLOP floor in units of rows^2 x cols: NT-Xent forward 1, forward and backward 4; uniformity 1 and 3; the stored cosine matrix 1
// (half of it is mirrored), its backward 4 with two matrices.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <random>
#include <string>
#include <vector>

#include "contrastive_kernels.h"

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Processor time of the whole process: on a machine that others use, too, the least of it says what a quiet one would take.
double processor_time() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

struct Timing {
  double least, median, least_processor;
};

template <class Run>
Timing measure(double seconds, Run&& run) {
  std::vector<double> times;
  run();
  const double end = now() + seconds;
  double least_processor = INFINITY;
  do {
    const double start = now(), processor = processor_time();
    run();
    times.push_back(now() - start);
    least_processor = std::min(least_processor, processor_time() - processor);
  } while (now() < end || times.size() < 3);
  std::sort(times.begin(), times.end());
  return {times[0], times[times.size() / 2], least_processor};
}

}  // namespace

int main(int count, char** arguments) {
  const int threads = count > 1 ? std::atoi(arguments[1]) : 2;
  const double seconds = count > 2 ? std::atof(arguments[2]) : 0.5;
  const std::string filter = count > 3 ? arguments[3] : "";
  char description[200];
  ck_describe(description, sizeof description);
  double peak = ck_measure_peak(threads) / 1e9;
  std::printf("%s on %d threads: peak %.1f GFLOP/s\n", description, threads, peak);
  std::printf("%-34s %10s %10s %8s %8s %8s\n", "kernel", "min ms", "median ms", "% peak", "median %", "% of cpu");

  const auto row = [&](const std::string& name, double floor, auto&& run) {
    if (name.find(filter) == std::string::npos) return;
    const Timing t = measure(seconds, run);
    peak = std::max(peak, ck_measure_peak(threads) / 1e9);  // the best the machine showed so far
    std::printf("%-34s %10.3f %10.3f %8.1f %8.1f %8.1f\n", name.c_str(), t.least * 1e3, t.median * 1e3, floor / t.least / peak / 1e7,
                floor / t.median / peak / 1e7, floor / t.least_processor / (peak / threads) / 1e7);
    std::fflush(stdout);
  };

  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  const int64_t shapes[][2] = {{512, 128}, {2048, 128}, {8192, 128}, {16384, 128}, {4096, 768}};
  for (const auto& shape : shapes) {
    const int64_t rows = shape[0], cols = shape[1];
    const double unit = static_cast<double>(rows) * rows * cols;
    std::vector<float> x(rows * cols), gradient(x.size()), other(x.size());
    for (float& value : x) value = normal(random);
    const ck_matrix m = {x.data(), rows, cols};
    ck_options options = {};
    options.temperature = 0.1;
    options.weight = 1.0 / rows;
    options.normalize = 1;
    options.threads = threads;
    ck_result result;
    const std::string size = std::to_string(rows) + "x" + std::to_string(cols) + " ";
    for (int stats = 0; stats < 2; ++stats) {
      options.stats = stats;
      const std::string suffix = stats ? " stats" : "";
      row(size + "ntXent f" + suffix, unit, [&] { ck_nt_xent(&m, 0, &options, nullptr, nullptr, nullptr, &result, nullptr); });
      row(size + "ntXent f+b" + suffix, 4 * unit,
          [&] { ck_nt_xent(&m, 0, &options, nullptr, nullptr, gradient.data(), &result, nullptr); });
    }
    options.stats = 0;
    options.precision = CK_BFLOAT16;
    if (ck_nt_xent(&m, 0, &options, nullptr, nullptr, nullptr, &result, nullptr) == CK_OK) {  // the peak stays that of float32
      row(size + "ntXent f bfloat16", unit, [&] { ck_nt_xent(&m, 0, &options, nullptr, nullptr, nullptr, &result, nullptr); });
      row(size + "ntXent f+b bfloat16", 4 * unit,
          [&] { ck_nt_xent(&m, 0, &options, nullptr, nullptr, gradient.data(), &result, nullptr); });
    }
    options.precision = CK_FLOAT32;
    row(size + "uniformity f", unit, [&] { ck_uniformity(&m, 2, &options, nullptr, &result, nullptr); });
    row(size + "uniformity f+b", 3 * unit, [&] { ck_uniformity(&m, 2, &options, gradient.data(), &result, nullptr); });
    if (rows <= 8192) {
      std::vector<float> matrix(rows * rows);
      row(size + "cosine self", unit, [&] { ck_cosine_similarity(&m, nullptr, &options, matrix.data(), nullptr); });
      row(size + "cosine x, y", 2 * unit, [&] { ck_cosine_similarity(&m, &m, &options, matrix.data(), nullptr); });
      const ck_matrix upstream = {matrix.data(), rows, rows};
      row(size + "cosine backward", 4 * unit,
          [&] { ck_cosine_similarity_backward(&m, &m, &upstream, &options, gradient.data(), other.data(), nullptr); });
    }
    row(size + "alignment f+b", 0, [&] { ck_alignment(&m, &m, 2, &options, nullptr, gradient.data(), other.data(), &result, nullptr); });
  }
  return 0;
}
