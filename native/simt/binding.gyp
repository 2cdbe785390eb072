{
  # Builds the CUDA sources and the addon on the SIMT emulation (tests only), where there is neither nvcc nor cmake:
  #   node-gyp rebuild -C native/simt     ->  native/simt/build/Release/contrastive_kernels_cuda_simt.node
  # The lists are those of native/sources.json; CMakeLists.txt here builds the same with cmake.
  "variables": {
    "openssl_fips": "",
  },
  "targets": [
    {
      "target_name": "contrastive_kernels_cuda_simt",
      "sources": [
        "<!@(node -p \"const lists = require('../sources.json'); [...lists.addon, ...lists.cuda, ...lists.simt].map((path) => '../../' + path).join(' ')\")",
      ],
      "include_dirs": [".", "../include", "..", "<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=8", "NODE_ADDON_API_CPP_EXCEPTIONS_ALL", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS", "CONTRASTIVE_KERNELS_DEVICE"],
      "cflags_cc": ["-std=c++20", "-O2", "-Wall", "-Wextra", "-fvisibility=hidden", "-fvisibility-inlines-hidden", "-fPIC"],
      "cflags_cc!": ["-fno-exceptions", "-std=gnu++17", "-std=gnu++20", "-fno-rtti", "-O3"],
      "xcode_settings": {
        "CLANG_CXX_LANGUAGE_STANDARD": "c++20",
        "GCC_ENABLE_CPP_EXCEPTIONS": "YES",
        "GCC_SYMBOLS_PRIVATE_EXTERN": "YES",
      },
      "conditions": [["OS!='win'", { "libraries": ["-lpthread"] }]],
    },
  ],
}
