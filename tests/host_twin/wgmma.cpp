// wgmma: a product is made when its sums are waited for, as late as the kernel allows, by each thread for itself. Its
// operands must be there when it is started, and still be the same when it is made. On a GPU the four warps of a
// warpgroup make it together: whatever one of them issues, all of them must, in the same order.
#include <string.h>

#include <string>
#include <tuple>

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

// `lines` lines of an operand in 16-byte chunks, 16 of k; they are columns where it is transposed.
template <class Visit>
void visit_lines(const Matrix& matrix, bool by_columns, int first, int lines, const Visit& visit) {
    if (by_columns) {
        for (int k = 0; k < 16; ++k)
            for (int line = first; line < first + lines; line += 8) visit(matrix.by_columns(line, k));
        return;
    }
    for (int line = first; line < first + lines; ++line)
        for (int k = 0; k < 16; k += 8) visit(matrix.by_lines(line, k));
}

// The operands that a warp reads: its 16 lines of A, and all of B.
template <class Visit>
void operands(const Multiply& what, int warp, const Visit& visit) {
    visit_lines(Matrix(what.a), what.a_by_columns, 16 * warp, 16, visit);
    visit_lines(Matrix(what.b), what.b_by_columns, 0, what.n, visit);
}

// Fails for an operand that is not there; gives a number that changes when an operand is written anew.
uint64_t check_operands(Thread& thread, const Product& product) {
    uint64_t seen = 0;
    if (thread.index % LANES != 0) return seen;  // the first lane stands for its warp
    operands(product.what, thread.warp() % 4, [&](unsigned offset) {
        seen = seen * 31 + check_operand(thread, dynamic_address(offset, 16, product.site), product.site);
    });
    return seen;
}

float element(unsigned offset, const Product& product) {
    unsigned short bits;
    memcpy(&bits, dynamic_address(offset, 2, product.site), 2);
    return product.what.bfloat16 ? widen(__nv_bfloat16{bits}) : widen(__half{bits});
}

void make(const Thread& thread, const Product& product) {
    const Multiply& what = product.what;
    const Matrix a(what.a), b(what.b);
    const auto at = [](const Matrix& matrix, bool by_columns, int line, int k) {
        return by_columns ? matrix.by_columns(line, k) : matrix.by_lines(line, k);
    };
    const int lane = thread.index % LANES, first = thread.warp() % 4 * 16 + lane / 4;
    float left[2][16], right[16];
    for (int half = 0; half < 2; ++half)
        for (int k = 0; k < 16; ++k) left[half][k] = element(at(a, what.a_by_columns, first + 8 * half, k), product);
    for (int j = 0; j < what.n / 8; ++j) {
        for (int pair = 0; pair < 2; ++pair) {
            const int column = 8 * j + 2 * (lane % 4) + pair;
            for (int k = 0; k < 16; ++k) right[k] = element(at(b, what.b_by_columns, column, k), product);
            for (int half = 0; half < 2; ++half) {
                float& sum = product.d[4 * j + 2 * half + pair];
                if (!what.add) sum = 0.0f;
                for (int k = 0; k < 16; ++k) sum += left[half][k] * right[k];
            }
        }
    }
}

// One instruction of a warpgroup, as the first of its threads issued it.
struct Step {
    const char* instruction;
    Multiply what;
    Site site;
    int thread;
};
constexpr int WARPGROUP = 128;
std::vector<Step> steps[MOST_THREADS / WARPGROUP];

bool same(const Multiply& one, const Multiply& other) {
    const auto all = [](const Multiply& m) {
        return std::tuple(m.a, m.b, m.n, m.add, m.a_by_columns, m.b_by_columns, m.bfloat16);
    };
    return all(one) == all(other);
}

}  // namespace

void warpgroups_begin_block() {
    for (std::vector<Step>& group : steps) group.clear();
}

void warpgroup_step(const char* instruction, const Multiply& what, Site site) {
    Thread& thread = *running();
    const int group = thread.index / WARPGROUP;
    if ((group + 1) * WARPGROUP > threads_in_block()) {
        fail("collective", nullptr, "thread %d issues %s, %s:%d, in a warpgroup that the block ends in", thread.index,
             instruction, site.file, site.line);
    }
    const size_t at = thread.warpgroup_steps++;
    if (at == steps[group].size()) steps[group].push_back({instruction, what, site, thread.index});
    const Step& first = steps[group][at];
    if (strcmp(first.instruction, instruction) == 0 && same(first.what, what)) return;
    const bool other = strcmp(first.instruction, instruction) != 0;
    fail("collective", nullptr, "warps of warpgroup %d differ in instruction %zu of theirs: thread %d issues %s, "
         "%s:%d, and thread %d %s%s, %s:%d", group, at, first.thread, first.instruction, first.site.file,
         first.site.line, thread.index, instruction, other ? "" : " of something else", site.file, site.line);
}

bool warpgroups_end_block(std::string& fault, const char*& kind) {
    for (int thread = 0; thread < threads_in_block(); ++thread) {
        const std::vector<Step>& group = steps[thread / WARPGROUP];
        const size_t made = fibre_of(thread).thread.warpgroup_steps;
        if (made == group.size()) continue;
        kind = "collective";
        fault = "thread " + std::to_string(thread) + " has ended without " + group[made].instruction + ", " +
                group[made].site.file + ":" + std::to_string(group[made].site.line) + ", which thread " +
                std::to_string(group[made].thread) + " of its warpgroup issued";
        return true;
    }
    return false;
}

void wgmma_fence(Site site) {
    warpgroup_step("wgmma_fence", {}, site);
    running()->sums_fenced = true;
}

void wgmma(float* d, const Multiply& what, Site site) {
    Thread& thread = *running();
    warpgroup_step("wgmma", what, site);
    Product product = {d, what, site, 0};
    if (!thread.sums_fenced) {
        fail("proxy", nullptr, "thread %d starts a wgmma whose sums it may still be using: no wgmma_fence, %s:%d",
             thread.index, site.file, site.line);
    }
    product.seen = check_operands(thread, product);  // there already; and still there when it is made
    thread.open_products.push_back(product);
}

void wgmma_commit(Site site) {
    Thread& thread = *running();
    warpgroup_step("wgmma_commit", {}, site);
    thread.product_groups.push_back(std::move(thread.open_products));
    thread.open_products.clear();
}

void wgmma_wait(int groups_left, Site site) {
    Thread& thread = *running();
    Multiply how = {};
    how.n = groups_left;
    warpgroup_step("wgmma_wait", how, site);
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
    warp_together(site);  // a lane that says for its warp that operands are free says so when all have used them
}

}  // namespace chip::host
