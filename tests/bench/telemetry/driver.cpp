// A libnvidia-ml.so.1 with one busy GPU, for the sampling process as a whole. The layouts are those of NVIDIA's nvml.h.
// MOHGE_TEST_LOST=N: the GPU is lost after N questions for its energy.
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace {
enum Return { kSuccess = 0, kNotSupported = 3, kNotFound = 6, kLost = 15 };
struct Utilization { unsigned gpu, memory; };
struct Memory { unsigned long long total, free, used; };
union Value { double d; unsigned ui; unsigned long ul; unsigned long long ull; long long sll; int si; unsigned short us; };
struct FieldValue { unsigned field, scope; long long timestamp, latency; int type, result; Value value; };
struct GpmSupport { unsigned version, supported; };
struct GpmMetric { unsigned id; int result; double value; const char *short_name, *long_name, *unit; };
struct GpmRequest { unsigned version, count; void *first, *second; GpmMetric metrics[1]; };
int gpu, questions;

double seconds() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + 1e-9 * now.tv_nsec;
}
}  // namespace

extern "C" {
int nvmlInitWithFlags(unsigned) { return kSuccess; }
int nvmlShutdown() { return kSuccess; }
const char *nvmlErrorString(int) { return "an error of the test's driver"; }
int nvmlSystemGetDriverVersion(char *text, unsigned) { return std::strcpy(text, "1.2.3"), kSuccess; }
int nvmlDeviceGetCount_v2(unsigned *count) { return *count = 1, kSuccess; }
int nvmlDeviceGetHandleByIndex_v2(unsigned, void **device) { return *device = &gpu, kSuccess; }
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
    if (std::strcmp(uuid, "GPU-test-1") != 0) return kNotFound;
    return *device = &gpu, kSuccess;
}
int nvmlDeviceGetName(void *, char *text, unsigned) { return std::strcpy(text, "GPU of the test"), kSuccess; }
int nvmlDeviceGetUUID(void *, char *text, unsigned) { return std::strcpy(text, "GPU-test-1"), kSuccess; }
int nvmlDeviceGetUtilizationRates(void *, Utilization *rates) { return *rates = {100, 40}, kSuccess; }
int nvmlDeviceGetFieldValues(void *, int, FieldValue *value) {
    if (value->field != 186) return value->result = kNotSupported, kSuccess;
    value->type = 1;
    value->result = kSuccess;
    value->value.ui = 500000;
    return kSuccess;
}
int nvmlDeviceGetTotalEnergyConsumption(void *, unsigned long long *millijoules) {
    const char *limit = std::getenv("MOHGE_TEST_LOST");
    if (limit != nullptr && questions++ >= std::atoi(limit)) return kLost;
    *millijoules = static_cast<unsigned long long>(500e3 * seconds());  // 500 W
    return kSuccess;
}
int nvmlDeviceGetClockInfo(void *, int kind, unsigned *clock) { return *clock = kind == 1 ? 1980 : 3201, kSuccess; }
int nvmlDeviceGetCurrentClocksEventReasons(void *, unsigned long long *reasons) { return *reasons = 4, kSuccess; }
int nvmlDeviceGetTemperature(void *, int, unsigned *celsius) { return *celsius = 61, kSuccess; }
int nvmlDeviceGetMemoryInfo(void *, Memory *memory) { return *memory = {8ull << 30, 6ull << 30, 2ull << 30}, kSuccess; }
int nvmlGpmQueryDeviceSupport(void *, GpmSupport *support) { return support->supported = 1, kSuccess; }
int nvmlGpmSampleAlloc(void **sample) { return *sample = std::malloc(1), kSuccess; }
int nvmlGpmSampleFree(void *sample) { return std::free(sample), kSuccess; }
int nvmlGpmSampleGet(void *, void *) { return kSuccess; }
int nvmlGpmMetricsGet(GpmRequest *request) {
    for (unsigned i = 0; i < request->count; ++i) {
        request->metrics[i].result = kSuccess;
        request->metrics[i].value = request->metrics[i].id == 5 ? 62.5 : 90.0;  // any tensor operation
    }
    return kSuccess;
}
}
