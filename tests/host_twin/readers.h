// Sets of readers, for memory.cpp.
#pragma once

#include <algorithm>
#include <map>
#include <unordered_map>
#include <utility>
#include <vector>

#include "runtime.h"

namespace chip::host {

// Who may still be reading a byte: sets of (thread, clock), each kept once under a number, 0 the empty one. A thread's
// knowledge belongs to its clock, so what becomes of a set when a thread reads is worked out once.
class ReaderSets {
  public:
    void clear() {
        sets_.assign(1, {});
        numbers_.clear();
        grown_.clear();
        last_key_ = last_asked_ = ~0ull;
    }

    uint32_t with(uint32_t set, const Thread& thread) {
        const uint64_t key = key_of(set, thread);
        if (key == last_key_) return last_grown_;
        const auto found = grown_.find(key);
        last_key_ = key;
        last_grown_ = found != grown_.end() ? found->second : grown_[key] = grow(set, thread);
        return last_grown_;
    }

    // Whether all of them come before what `thread` does now; else one that does not, in `unordered`.
    bool ordered_before(uint32_t set, const Thread& thread, int& unordered) {
        const uint64_t key = key_of(set, thread);
        if (key == last_asked_) return true;
        for (const auto& [reader, clock] : sets_[set]) {
            unordered = reader;
            if (reader != thread.index && clock > thread.known.of(reader, thread.block_epoch)) return false;
        }
        last_asked_ = key;
        return true;
    }

  private:
    using Set = std::vector<std::pair<int, uint32_t>>;

    static uint64_t key_of(uint32_t set, const Thread& thread) {
        return uint64_t(set) << 40 | uint64_t(thread.index) << 29 | thread.clock;
    }

    uint32_t grow(uint32_t set, const Thread& thread) {
        Set grown;
        for (const auto& [reader, clock] : sets_[set])
            if (reader != thread.index && clock > thread.known.of(reader, thread.block_epoch))
                grown.emplace_back(reader, clock);
        grown.emplace_back(thread.index, thread.clock);
        std::sort(grown.begin(), grown.end());
        const auto [place, fresh] = numbers_.try_emplace(grown, static_cast<uint32_t>(sets_.size()));
        if (fresh) sets_.push_back(grown);
        return place->second;
    }

    std::vector<Set> sets_{1};
    std::map<Set, uint32_t> numbers_;
    std::unordered_map<uint64_t, uint32_t> grown_;
    uint64_t last_key_ = ~0ull, last_asked_ = ~0ull;
    uint32_t last_grown_ = 0;
};

}  // namespace chip::host
