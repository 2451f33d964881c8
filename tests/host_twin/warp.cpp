// Warp collectives: lanes wait until all 32 have come, and the last to arrive does the work for all.
#include <string.h>

#include "include/numbers.h"
#include "runtime.h"

namespace chip::host {
namespace {

enum class Operation { together, warp_barrier, shuffle, ballot, match_any, ldmatrix, transpose, mma };

}  // namespace

struct Lane {  // what one lane brings, and takes away
    Operation operation;
    Site site;
    unsigned long long value = 0;
    Shuffle how = Shuffle::lane;
    int parameter = 0;
    unsigned* registers = nullptr;
    const void* shared = nullptr;
    float* d = nullptr;
    const unsigned *a = nullptr, *b = nullptr;
};

namespace {

unsigned long long partner_value(const Lane* const* lanes, int lane) {
    const int parameter = lanes[lane]->parameter;
    int partner = lane;
    switch (lanes[lane]->how) {
        case Shuffle::lane: partner = parameter & (LANES - 1); break;
        case Shuffle::exclusive_or: partner = lane ^ parameter; break;
        case Shuffle::up: partner = lane - parameter; break;
        case Shuffle::down: partner = lane + parameter; break;
    }
    return lanes[partner >= 0 && partner < LANES ? partner : lane]->value;
}

void exchange(Lane* const* lanes) {
    unsigned long long results[LANES] = {};
    for (int lane = 0; lane < LANES; ++lane) {
        if (lanes[0]->operation == Operation::shuffle) {
            results[lane] = partner_value(lanes, lane);
            continue;
        }
        for (int other = 0; other < LANES; ++other) {
            const bool ballot = lanes[0]->operation == Operation::ballot;
            const bool set = ballot ? lanes[other]->value != 0 : lanes[other]->value == lanes[lane]->value;
            results[lane] |= static_cast<unsigned long long>(set) << other;
        }
    }
    for (int lane = 0; lane < LANES; ++lane) lanes[lane]->value = results[lane];
}

void load_matrices(Fibre* warp, Lane* const* lanes) {
    unsigned short rows[LANES][8];
    for (int lane = 0; lane < LANES; ++lane) {
        const void* row = lanes[lane]->shared;
        const Site site = lanes[lane]->site;
        if (reinterpret_cast<uintptr_t>(row) % 16 != 0) {
            fail("misaligned", nullptr, "lane %d's row is no multiple of 16 bytes, ldmatrix at %s:%d", lane, site.file,
                 site.line);
        }
        if (!is_shared(row, 16)) {
            fail("out_of_bounds", nullptr, "lane %d's row is not in shared memory, ldmatrix at %s:%d", lane, site.file,
                 site.line);
        }
        check(warp[lane].thread, row, 16, Access::read, nullptr);
        memcpy(rows[lane], row, 16);
    }
    for (int lane = 0; lane < LANES; ++lane) {
        for (int matrix = 0; matrix < 4; ++matrix) {
            const unsigned short(*m)[8] = rows + 8 * matrix;
            const int line = lane / 4, pair = 2 * (lane % 4);
            const bool transposed = lanes[lane]->parameter != 0;
            const unsigned low = transposed ? m[pair][line] : m[line][pair];
            const unsigned high = transposed ? m[pair + 1][line] : m[line][pair + 1];
            lanes[lane]->registers[matrix] = low | high << 16;
        }
    }
}

void transpose(Lane* const* lanes) {
    unsigned short matrix[8][8];
    for (int lane = 0; lane < LANES; ++lane)
        for (int i = 0; i < 2; ++i)
            matrix[lane / 4][2 * (lane % 4) + i] = static_cast<unsigned short>(lanes[lane]->value >> 16 * i);
    for (int lane = 0; lane < LANES; ++lane) {
        const int line = lane / 4, pair = 2 * (lane % 4);
        lanes[lane]->value = matrix[pair][line] | unsigned(matrix[pair + 1][line]) << 16;
    }
}

float element(unsigned pair, int which, bool bfloat16) {
    const unsigned short bits = static_cast<unsigned short>(which == 0 ? pair : pair >> 16);
    return bfloat16 ? widen(__nv_bfloat16{bits}) : widen(__half{bits});
}

void multiply(Lane* const* lanes) {
    const bool bfloat16 = lanes[0]->parameter != 0;
    float a[16][16], b[16][8];
    for (int lane = 0; lane < LANES; ++lane) {
        const int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 2; ++i) {
            for (int part = 0; part < 4; ++part)
                a[g + 8 * (part % 2)][2 * t + i + 8 * (part / 2)] = element(lanes[lane]->a[part], i, bfloat16);
            for (int part = 0; part < 2; ++part)
                b[2 * t + i + 8 * part][g] = element(lanes[lane]->b[part], i, bfloat16);
        }
    }
    for (int lane = 0; lane < LANES; ++lane) {
        for (int i = 0; i < 4; ++i) {
            const int row = lane / 4 + 8 * (i / 2), column = 2 * (lane % 4) + i % 2;
            float sum = lanes[lane]->d[i];
            for (int k = 0; k < 16; ++k) sum += a[row][k] * b[k][column];
            lanes[lane]->d[i] = sum;
        }
    }
}

// After a warp barrier every lane knows what all of them did and knew.
void exchange_knowledge(Fibre* warp) {
    Knowledge all;
    for (int lane = 0; lane < LANES; ++lane) warp[lane].thread.tell(all);
    for (int lane = 0; lane < LANES; ++lane) warp[lane].thread.learn(all);
}

void perform(Fibre* warp, Lane* const* lanes, const Lane& last) {
    for (int lane = 0; lane < LANES; ++lane) {
        const Site site = lanes[lane]->site;
        if (lanes[lane]->operation == last.operation && site.line == last.site.line) continue;
        fail("collective", nullptr, "lanes of warp %d meet at different calls: %s:%d and %s:%d", warp->thread.warp(),
             site.file, site.line, last.site.file, last.site.line);
    }
    switch (last.operation) {
        case Operation::together: break;
        case Operation::warp_barrier:
            exchange_knowledge(warp);
            break;
        case Operation::ldmatrix: load_matrices(warp, lanes); break;
        case Operation::transpose: transpose(lanes); break;
        case Operation::mma: multiply(lanes); break;
        default: exchange(lanes);
    }
}

void collective(Lane& mine) {
    Fibre& fibre = current_fibre();
    fibre.lane = &mine;
    fibre.site = mine.site;
    fibre.state = State::at_collective;
    if (Fibre* warp = whole_warp(fibre)) {
        Lane* lanes[LANES];
        bool complete = true;
        for (int lane = 0; lane < LANES; ++lane) {
            complete = complete && warp[lane].state == State::at_collective;
            lanes[lane] = warp[lane].lane;
        }
        if (complete) {
            perform(warp, lanes, mine);
            for (int lane = 0; lane < LANES; ++lane) warp[lane].state = State::ready;
        }
    }
    give_way();
}

}  // namespace

void warp_together(Site site) {
    Lane lane = {Operation::together, site};
    collective(lane);
}

void warp_barrier(Site site) {
    Lane lane = {Operation::warp_barrier, site};
    collective(lane);
}

unsigned long long shuffle(unsigned long long value, Shuffle how, int parameter, Site site) {
    Lane lane = {Operation::shuffle, site};
    lane.value = value;
    lane.how = how;
    lane.parameter = parameter;
    collective(lane);
    return lane.value;
}

unsigned ballot(bool predicate, Site site) {
    Lane lane = {Operation::ballot, site};
    lane.value = predicate;
    collective(lane);
    return static_cast<unsigned>(lane.value);
}

unsigned match_any(int value, Site site) {
    Lane lane = {Operation::match_any, site};
    lane.value = static_cast<unsigned>(value);
    collective(lane);
    return static_cast<unsigned>(lane.value);
}

void ldmatrix_x4(unsigned* r, const void* shared, bool transposed, Site site) {
    Lane lane = {Operation::ldmatrix, site};
    lane.registers = r;
    lane.shared = shared;
    lane.parameter = transposed;
    collective(lane);
}

unsigned transpose_8x8(unsigned pair, Site site) {
    Lane lane = {Operation::transpose, site};
    lane.value = pair;
    collective(lane);
    return static_cast<unsigned>(lane.value);
}

void mma_m16n8k16(float* d, const unsigned* a, const unsigned* b, bool bfloat16, Site site) {
    Lane lane = {Operation::mma, site};
    lane.parameter = bfloat16;
    lane.d = d;
    lane.a = a;
    lane.b = b;
    collective(lane);
}

}  // namespace chip::host
