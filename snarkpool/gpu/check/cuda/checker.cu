// The checker for NVIDIA's GPUs: it speaks the protocol that the Go package one folder up documents, and computes on the first GPU that it
// sees. Whoever starts it says which one that is, with CUDA_VISIBLE_DEVICES. It changes no setting of the GPU.
//
// The kernels use neither shared memory nor synchronisation between threads, so that the same source can be run thread by thread on a CPU
// (host_test.go). Entries are reached with 64-bit indexes throughout, since C may have more than 2^32 of them.

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>
#include <vector>

typedef unsigned __int128 uint128;

// ---- what both sides compute ----

// Number index of a stream: SplitMix64's output function over a counter.
__host__ __device__ inline uint64_t word(uint64_t stream, uint64_t index) {
  uint64_t z = stream + (index + 1) * 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

// Brings a number below 2^62 below the prime 2^61-1.
__host__ __device__ inline uint64_t reduce(uint64_t x) {
  const uint64_t p = (1ull << 61) - 1;
  x = (x & p) + (x >> 61);
  return x >= p ? x - p : x;
}

// value·x modulo the prime.
__host__ __device__ inline uint64_t times(int32_t value, uint64_t x) {
  const uint64_t p = (1ull << 61) - 1;
  uint64_t magnitude = value < 0 ? (uint64_t)(-(int64_t)value) : (uint64_t)value;
  uint128 full = (uint128)magnitude * x;
  uint64_t product = reduce(((uint64_t)full & p) + (uint64_t)(full >> 61));
  return value < 0 && product != 0 ? p - product : product;
}

__host__ __device__ inline uint32_t rotate(uint32_t x, int by) { return (x >> by) | (x << (32 - by)); }

// SHA-256 of bytes that come one by one.
struct Sha256 {
  uint32_t state[8];
  uint32_t block[16];
  uint64_t length;

  __host__ __device__ void begin() {
    const uint32_t first[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    for (int i = 0; i < 8; i++) state[i] = first[i];
    for (int i = 0; i < 16; i++) block[i] = 0;
    length = 0;
  }

  __host__ __device__ void add(uint8_t byte) {
    int at = (int)(length & 63);
    block[at >> 2] |= (uint32_t)byte << (24 - 8 * (at & 3));
    length++;
    if (at == 63) compress();
  }

  __host__ __device__ void add_word(uint32_t value) {  // little-endian, as rows are hashed
    for (int i = 0; i < 4; i++) add((uint8_t)(value >> (8 * i)));
  }

  __host__ __device__ void end(uint8_t* digest) {
    uint64_t bits = 8 * length;
    add(0x80);
    while ((length & 63) != 56) add(0);
    for (int i = 7; i >= 0; i--) add((uint8_t)(bits >> (8 * i)));
    for (int i = 0; i < 32; i++) digest[i] = (uint8_t)(state[i >> 2] >> (24 - 8 * (i & 3)));
  }

  __host__ __device__ void compress() {
    const uint32_t k[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
        0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
        0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
        0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
        0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
        0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], f = state[5], g = state[6], h = state[7];
    for (int i = 0; i < 64; i++) {
      if (i >= 16) {
        uint32_t early = block[(i + 1) & 15], late = block[(i + 14) & 15];
        block[i & 15] += (rotate(early, 7) ^ rotate(early, 18) ^ (early >> 3)) + block[(i + 9) & 15] +
                         (rotate(late, 17) ^ rotate(late, 19) ^ (late >> 10));
      }
      uint32_t one = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + k[i] + block[i & 15];
      uint32_t two = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      h = g, g = f, f = e, e = d + one, d = c, c = b, b = a, a = one + two;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e, state[5] += f, state[6] += g, state[7] += h;
    for (int i = 0; i < 16; i++) block[i] = 0;
  }
};

// ---- on the GPU ----

static const int row_tile = 8, column_tile = 4;  // what one thread of multiply computes

// Bytes of a matrix from its stream, eight to a thread.
__global__ void fill(int8_t* matrix, uint64_t length, uint64_t stream) {
  uint64_t step = (uint64_t)gridDim.x * blockDim.x;
  for (uint64_t at = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x; at * 8 < length; at += step) {
    uint64_t value = word(stream, at);
    for (uint64_t i = at * 8; i < at * 8 + 8 && i < length; i++, value >>= 8) matrix[i] = (int8_t)value;
  }
}

// C = A·B. A thread computes 8 rows by 4 columns, the columns a block apart, so that the threads of a warp read B side by side.
__global__ void multiply(const int8_t* a, const int8_t* b, int32_t* c, uint64_t rows, uint64_t columns, uint64_t inner) {
  uint64_t first_column = (uint64_t)blockIdx.x * blockDim.x * column_tile + threadIdx.x;
  if (first_column >= columns) return;
  for (uint64_t first_row = (uint64_t)blockIdx.y * row_tile; first_row < rows; first_row += (uint64_t)gridDim.y * row_tile) {
    int32_t sums[row_tile][column_tile] = {};
    for (uint64_t k = 0; k < inner; k++) {
      int32_t right[column_tile];
      for (int j = 0; j < column_tile; j++) {
        uint64_t column = first_column + (uint64_t)j * blockDim.x;
        right[j] = column < columns ? b[k * columns + column] : 0;
      }
      for (int i = 0; i < row_tile; i++) {
        int32_t left = first_row + i < rows ? a[(first_row + i) * inner + k] : 0;
        for (int j = 0; j < column_tile; j++) sums[i][j] += left * right[j];
      }
    }
    for (int i = 0; i < row_tile; i++) {
      for (int j = 0; j < column_tile; j++) {
        uint64_t row = first_row + i, column = first_column + (uint64_t)j * blockDim.x;
        if (row < rows && column < columns) c[row * columns + column] = sums[i][j];
      }
    }
  }
}

// The hash of each row of C, one row to a thread.
__global__ void hash_rows(const int32_t* c, uint8_t* leaves, uint64_t rows, uint64_t columns) {
  uint64_t row = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (row >= rows) return;
  Sha256 hash;
  hash.begin();
  hash.add(0);
  for (int i = 0; i < 8; i++) hash.add((uint8_t)(row >> (8 * i)));
  for (uint64_t j = 0; j < columns; j++) hash.add_word((uint32_t)c[row * columns + j]);
  hash.end(leaves + 32 * row);
}

// The challenge's vector.
__global__ void make_vector(uint64_t* vector, uint64_t length, uint64_t stream) {
  uint64_t at = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (at < length) vector[at] = reduce(word(stream, at) >> 3);
}

// C·r, one row to a thread.
__global__ void products_of(const int32_t* c, const uint64_t* vector, uint64_t* products, uint64_t rows, uint64_t columns) {
  uint64_t row = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (row >= rows) return;
  uint64_t sum = 0;
  for (uint64_t j = 0; j < columns; j++) sum = reduce(sum + times(c[row * columns + j], vector[j]));
  products[row] = sum;
}

// ---- the protocol ----

[[noreturn]] static void fail(const std::string& reason) {
  std::string plain;
  for (char letter : reason) plain += letter == '"' || letter == '\\' || (unsigned char)letter < 0x20 ? ' ' : letter;
  std::cout << "{\"type\":\"failed\",\"reason\":\"" << plain << "\"}" << std::endl;
  std::cerr << reason << std::endl;
  std::exit(1);
}

static void must(cudaError_t status, const char* what) {
  if (status != cudaSuccess) fail(std::string(what) + ": " + cudaGetErrorString(status));
}

// Waits for a kernel: what went wrong in one shows only then.
static void finished(const char* what) {
  must(cudaGetLastError(), what);
  must(cudaDeviceSynchronize(), what);
}

template <typename T>
static T* allocate(uint64_t count, const char* what) {
  T* memory = nullptr;
  must(cudaMalloc((void**)&memory, count * sizeof(T)), what);
  return memory;
}

static std::string hear(const char* type) {
  std::string line;
  if (!std::getline(std::cin, line)) std::exit(1);  // the agent is gone, and nobody would read a reason
  if (line.find(std::string("\"type\":\"") + type + "\"") == std::string::npos) fail(std::string("no ") + type + " where one was due");
  return line;
}

// Where a field's value begins. The agent's lines are without blanks, and their texts without quotation marks.
static size_t field(const std::string& line, const std::string& name) {
  size_t at = line.find("\"" + name + "\":");
  if (at == std::string::npos) fail("a message without " + name);
  return at + name.size() + 3;
}

static uint64_t number(const std::string& line, const std::string& name) { return std::strtoull(line.c_str() + field(line, name), nullptr, 10); }

static std::vector<uint8_t> seed(const std::string& line, const std::string& name) {
  size_t at = field(line, name) + 1;
  std::vector<uint8_t> bytes;
  for (int i = 0; i < 16; i++) bytes.push_back((uint8_t)std::strtoul(line.substr(at + 2 * i, 2).c_str(), nullptr, 16));
  return bytes;
}

static uint64_t half(const std::vector<uint8_t>& seed, int which) {
  uint64_t value = 0;
  for (int i = 7; i >= 0; i--) value = value << 8 | seed[8 * which + i];
  return value;
}

static std::vector<uint64_t> numbers(const std::string& line, const std::string& name) {
  const char* at = line.c_str() + field(line, name) + 1;
  std::vector<uint64_t> list;
  while (*at >= '0' && *at <= '9') {
    char* end;
    list.push_back(std::strtoull(at, &end, 10));
    at = *end == ',' ? end + 1 : end;
  }
  return list;
}

static std::string hex(const uint8_t* bytes, size_t length) {
  const char* digits = "0123456789abcdef";
  std::string text;
  for (size_t i = 0; i < length; i++) {
    text += digits[bytes[i] >> 4];
    text += digits[bytes[i] & 15];
  }
  return text;
}

static std::string base64(const uint8_t* bytes, size_t length) {
  const char* letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((length + 2) / 3 * 4);
  for (size_t i = 0; i < length; i += 3) {
    uint32_t three = bytes[i] << 16 | (i + 1 < length ? bytes[i + 1] << 8 : 0) | (i + 2 < length ? bytes[i + 2] : 0);
    text += letters[three >> 18];
    text += letters[three >> 12 & 63];
    text += i + 1 < length ? letters[three >> 6 & 63] : '=';
    text += i + 2 < length ? letters[three & 63] : '=';
  }
  return text;
}

typedef std::vector<uint8_t> Level;  // the hashes of one level of the tree, 32 bytes each

static std::vector<Level> tree_over(Level leaves) {
  std::vector<Level> levels = {leaves};
  while (levels.back().size() > 32) {
    const Level& below = levels.back();
    Level above;
    size_t at = 0;
    for (; at + 64 <= below.size(); at += 64) {
      Sha256 hash;
      uint8_t digest[32];
      hash.begin();
      hash.add(1);
      for (int i = 0; i < 64; i++) hash.add(below[at + i]);
      hash.end(digest);
      above.insert(above.end(), digest, digest + 32);
    }
    above.insert(above.end(), below.begin() + at, below.end());  // one that is left over goes up as it is
    levels.push_back(above);
  }
  return levels;
}

static std::string path_of(const std::vector<Level>& levels, uint64_t index) {
  std::string path;
  for (size_t level = 0; level + 1 < levels.size(); level++, index /= 2) {
    uint64_t beside = index ^ 1;
    if (beside * 32 >= levels[level].size()) continue;
    path += (path.empty() ? "\"" : ",\"") + hex(&levels[level][beside * 32], 32) + "\"";
  }
  return path;
}

int main() {
  std::ios::sync_with_stdio(false);
  std::string task = hear("task");
  if (number(task, "protocol") != 1) fail("this checker speaks protocol 1");
  uint64_t rows = number(task, "rows"), columns = number(task, "columns"), inner = number(task, "inner");
  if (rows == 0 || rows > 1 << 20 || columns == 0 || columns > 1 << 20 || inner == 0 || inner > 1 << 16) fail("the task is out of bounds");
  std::vector<uint8_t> matrices = seed(task, "seed");

  const unsigned threads = 256;
  const unsigned many = 65535;  // blocks for what strides over its work
  auto blocks = [&](uint64_t count) { return (unsigned)((count + threads - 1) / threads); };

  int32_t* c = allocate<int32_t>(rows * columns, "memory for C");
  int8_t* a = allocate<int8_t>(rows * inner, "memory for A");
  int8_t* b = allocate<int8_t>(inner * columns, "memory for B");
  uint8_t* leaves = allocate<uint8_t>(32 * rows, "memory for the hashes");
  fill<<<std::min(many, blocks((rows * inner + 7) / 8)), threads>>>(a, rows * inner, half(matrices, 0));
  fill<<<std::min(many, blocks((inner * columns + 7) / 8)), threads>>>(b, inner * columns, half(matrices, 1));
  finished("making the matrices");
  dim3 grid(blocks((columns + column_tile - 1) / column_tile), std::min(many, (unsigned)((rows + row_tile - 1) / row_tile)));
  multiply<<<grid, threads>>>(a, b, c, rows, columns, inner);
  finished("multiplying");
  hash_rows<<<blocks(rows), threads>>>(c, leaves, rows, columns);
  finished("hashing");
  Level hashes(32 * rows);
  must(cudaMemcpy(hashes.data(), leaves, hashes.size(), cudaMemcpyDeviceToHost), "fetching the hashes");
  std::vector<Level> tree = tree_over(hashes);
  std::cout << "{\"type\":\"commitment\",\"root\":\"" << hex(tree.back().data(), 32) << "\"}" << std::endl;

  std::string challenge = hear("challenge");
  uint64_t* vector = allocate<uint64_t>(columns, "memory for the vector");
  uint64_t* products = allocate<uint64_t>(rows, "memory for the products");
  make_vector<<<blocks(columns), threads>>>(vector, columns, half(seed(challenge, "vector"), 0));
  products_of<<<blocks(rows), threads>>>(c, vector, products, rows, columns);
  finished("multiplying with the vector");
  std::vector<uint64_t> values(rows);
  must(cudaMemcpy(values.data(), products, 8 * rows, cudaMemcpyDeviceToHost), "fetching the products");
  std::cout << "{\"type\":\"products\",\"values\":\"" << base64((const uint8_t*)values.data(), 8 * rows) << "\"}\n";
  std::vector<int32_t> row(columns);
  for (uint64_t index : numbers(challenge, "rows")) {
    if (index >= rows) fail("a challenge for a row that is not there");
    must(cudaMemcpy(row.data(), c + index * columns, 4 * columns, cudaMemcpyDeviceToHost), "fetching a row");
    std::cout << "{\"type\":\"row\",\"index\":" << index << ",\"values\":\"" << base64((const uint8_t*)row.data(), 4 * columns)
              << "\",\"path\":[" << path_of(tree, index) << "]}\n";
  }
  std::cout.flush();
  hear("bye");
  for (void* memory : {(void*)a, (void*)b, (void*)c, (void*)leaves, (void*)vector, (void*)products}) must(cudaFree(memory), "letting go of memory");
  return 0;
}
