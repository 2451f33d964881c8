// wgmma: a product is made when its sums are waited for, as late as the kernel allows, by each thread for itself. Its
// operands must be there when it is started, and still be the same when it is made.
#include <string.h>

#include "include/numbers.h"
#include "runtime.h"

namespace chip::host {

namespace {

struct Matrix {
    unsigned start, leading, stride;
    explicit Matrix(unsigned long long descriptor)
        : start((descriptor & 0x3fff) << 4),
          leading((descriptor >> 16 & 0x3fff) << 4),
          stride((descriptor >> 32 & 0x3fff) << 4) {}
    // Of element k of line `line`, and of element k of column `line` where lines are k.
    unsigned by_lines(int line, int k) const {
        return swizzled(start + line / 8 * stride + line % 8 * LINE_BYTES + 2 * k);
    }
    unsigned by_columns(int column, int k) const {
        return swizzled(start + column / 64 * leading + k / 8 * stride + k % 8 * LINE_BYTES + 2 * (column % 64));
    }
};

// The operands that a warp reads, in 16-byte chunks: its 16 lines of A, and all of B.
template <class Visit>
void operands(const Product& product, int warp, const Visit& visit) {
    const Matrix a(product.a), b(product.b);
    for (int line = 16 * warp; line < 16 * warp + 16; ++line)
        for (int k = 0; k < 16; k += 8) visit(a.by_lines(line, k));
    if (product.by_columns) {
        for (int k = 0; k < 16; ++k)
            for (int column = 0; column < product.n; column += 8) visit(b.by_columns(column, k));
        return;
    }
    for (int column = 0; column < product.n; ++column)
        for (int k = 0; k < 16; k += 8) visit(b.by_lines(column, k));
}

// Fails for an operand that is not there; gives a number that changes when an operand is written anew.
uint64_t check_operands(Thread& thread, const Product& product) {
    uint64_t seen = 0;
    if (thread.index % LANES != 0) return seen;  // the first lane stands for its warp
    operands(product, thread.warp() % 4, [&](unsigned offset) {
        seen = seen * 31 + check_operand(thread, dynamic_address(offset, 16, product.site), product.site);
    });
    return seen;
}

float element(unsigned offset, const Product& product) {
    unsigned short bits;
    memcpy(&bits, dynamic_address(offset, 2, product.site), 2);
    return product.bfloat16 ? widen(__nv_bfloat16{bits}) : widen(__half{bits});
}

void make(const Thread& thread, const Product& product) {
    const Matrix a(product.a), b(product.b);
    const int lane = thread.index % LANES, first = thread.warp() % 4 * 16 + lane / 4;
    float left[2][16], right[16];
    for (int half = 0; half < 2; ++half)
        for (int k = 0; k < 16; ++k) left[half][k] = element(a.by_lines(first + 8 * half, k), product);
    for (int j = 0; j < product.n / 8; ++j) {
        for (int pair = 0; pair < 2; ++pair) {
            const int column = 8 * j + 2 * (lane % 4) + pair;
            for (int k = 0; k < 16; ++k)
                right[k] = element(product.by_columns ? b.by_columns(column, k) : b.by_lines(column, k), product);
            for (int half = 0; half < 2; ++half) {
                float& sum = product.d[4 * j + 2 * half + pair];
                if (!product.add) sum = 0.0f;
                for (int k = 0; k < 16; ++k) sum += left[half][k] * right[k];
            }
        }
    }
}

}  // namespace

void wgmma_fence() { running()->sums_fenced = true; }

void wgmma(float* d, unsigned long long a, unsigned long long b, int n, bool add, bool by_columns, bool bfloat16,
           Site site) {
    Thread& thread = *running();
    Product product = {d, a, b, n, add, by_columns, bfloat16, site, 0};
    if (!thread.sums_fenced) {
        fail("proxy", nullptr, "thread %d starts a wgmma whose sums it may still be using: no wgmma_fence, %s:%d",
             thread.index, site.file, site.line);
    }
    product.seen = check_operands(thread, product);  // there already; and still there when it is made
    thread.open_products.push_back(product);
}

void wgmma_commit() {
    Thread& thread = *running();
    thread.product_groups.push_back(std::move(thread.open_products));
    thread.open_products.clear();
}

void wgmma_wait(int groups_left) {
    Thread& thread = *running();
    while (thread.product_groups.size() > static_cast<size_t>(groups_left)) {
        for (const Product& product : thread.product_groups.front()) {
            if (check_operands(thread, product) != product.seen) {
                fail("in_flight", nullptr, "an operand of the wgmma at %s:%d was overwritten while it was under way",
                     product.site.file, product.site.line);
            }
            make(thread, product);
        }
        thread.product_groups.erase(thread.product_groups.begin());
    }
    if (groups_left == 0) thread.sums_fenced = false;
}

}  // namespace chip::host
