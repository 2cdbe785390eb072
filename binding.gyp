{
  # Builds the CPU addon, which is all that `npm install` needs. The CUDA addon is CMakeLists.txt's.
  # Sources are listed in native/sources.json only. Every instruction set is its own library: no flag leaks into another.
  "variables": {
    "openssl_fips": "",
  },
  "target_defaults": {
    "include_dirs": ["native/include", "native"],
    # -O2: the micro-kernels are unrolled by hand, and -O3 takes half as long again to compile them into the same speed.
    "cflags_cc": ["-std=c++17", "-O2", "-Wall", "-Wextra", "-fvisibility=hidden", "-fvisibility-inlines-hidden", "-fPIC"],
    "cflags_cc!": ["-fno-exceptions", "-std=gnu++17", "-std=gnu++20", "-fno-rtti"],
    "xcode_settings": {
      "CLANG_CXX_LANGUAGE_STANDARD": "c++17",
      "GCC_ENABLE_CPP_EXCEPTIONS": "YES",
      "GCC_SYMBOLS_PRIVATE_EXTERN": "YES",
      "GCC_OPTIMIZATION_LEVEL": "2",
    },
    "msvs_settings": {
      "VCCLCompilerTool": { "ExceptionHandling": 1, "AdditionalOptions": ["/std:c++17"] },
    },
  },
  "targets": [
    {
      "target_name": "ck_cpu_portable",
      "type": "static_library",
      "sources": ["<!@(node -p \"require('./native/sources.json').cpu_portable.join(' ')\")"],
    },
    {
      "target_name": "contrastive_kernels_cpu",
      "sources": ["<!@(node -p \"[...require('./native/sources.json').addon, ...require('./native/sources.json').cpu].join(' ')\")"],
      # Relative, as the package gives it: gyp would split an absolute path at a space.
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=8", "NODE_ADDON_API_CPP_EXCEPTIONS_ALL", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"],
      "dependencies": ["ck_cpu_portable"],
      "conditions": [
        ["target_arch=='x64'", { "dependencies": ["ck_cpu_avx2", "ck_cpu_avx512", "ck_cpu_avx512_bf16"] }],
        ["OS!='win'", { "libraries": ["-lpthread"] }],
      ],
    },
  ],
  "conditions": [
    [
      "target_arch=='x64'",
      {
        "targets": [
          {
            "target_name": "ck_cpu_avx2",
            "type": "static_library",
            "sources": ["<!@(node -p \"require('./native/sources.json').cpu_avx2.join(' ')\")"],
            "cflags_cc": ["-mavx2", "-mfma"],
            "xcode_settings": { "OTHER_CPLUSPLUSFLAGS": ["-mavx2", "-mfma"] },
            "msvs_settings": { "VCCLCompilerTool": { "EnableEnhancedInstructionSet": 5 } },
          },
          {
            "target_name": "ck_cpu_avx512",
            "type": "static_library",
            "sources": ["<!@(node -p \"require('./native/sources.json').cpu_avx512.join(' ')\")"],
            "cflags_cc": ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma"],
            "xcode_settings": { "OTHER_CPLUSPLUSFLAGS": ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma"] },
            "msvs_settings": { "VCCLCompilerTool": { "AdditionalOptions": ["/arch:AVX512"] } },
          },
          {
            "target_name": "ck_cpu_avx512_bf16",
            "type": "static_library",
            "sources": ["<!@(node -p \"require('./native/sources.json').cpu_avx512_bf16.join(' ')\")"],
            "cflags_cc": ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mavx512bf16", "-mfma"],
            "xcode_settings": { "OTHER_CPLUSPLUSFLAGS": ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mavx512bf16", "-mfma"] },
            "msvs_settings": { "VCCLCompilerTool": { "AdditionalOptions": ["/arch:AVX512"] } },
          },
        ]
      },
    ]
  ],
}
