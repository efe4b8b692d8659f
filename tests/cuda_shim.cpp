// Runs a kernel's threads on the CPU, block after block: a thread is a fiber, which runs until it ends or waits. Knows
// no kernel. A warp runs as far as it can before the next one does, in an order that the caller chooses: threads that
// race for memory then see another winner in another order.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <ucontext.h>

struct uint3 { unsigned x, y, z; };
extern "C" { uint3 threadIdx, blockIdx, blockDim, gridDim; }

namespace {
constexpr unsigned MOST = 1024, WARP = 32;
typedef unsigned long long Bits;
enum State { READY, AT_SHUFFLE, AT_SYNCWARP, AT_SYNCTHREADS, ENDED };
const char* const NAMES[] = {"ready", "a shuffle", "__syncwarp", "__syncthreads", "ended"};

struct Thread { State state; int fiber; unsigned mask, source; Bits value, received; };
// Not a power of two apart, so that the tops of the stacks, where threads work, share the cache.
struct Fiber { jmp_buf at; alignas(64) char stack[(128 << 10) + 1088]; };

Thread threads[MOST];
Fiber fibers[MOST];  // of zeros, so memory only once touched
int idle[MOST], idles, made;
Thread* current;
jmp_buf scheduler, failed;
ucontext_t start;
char message[256];
void (*entry)(const void*);
const void* work;

[[noreturn]] void fail(const char* format, ...) {
    va_list values;
    va_start(values, format);
    const int n = snprintf(message, sizeof message, "block %u, thread %u: ", blockIdx.x, threadIdx.x);
    vsnprintf(message + n, sizeof message - n, format, values);
    va_end(values);
    _longjmp(failed, 1);
}

// setjmp between fibers: swapcontext would ask the kernel for the signal mask at every switch.
void wait(State state, unsigned mask = 0) {
    if ((state == AT_SHUFFLE || state == AT_SYNCWARP) && !(mask >> threadIdx.x % WARP & 1))
        fail("at %s with mask %#x, which is without itself", NAMES[state], mask);
    current->state = state;
    current->mask = mask;
    if (!_setjmp(fibers[current->fiber].at)) _longjmp(scheduler, 1);
}

// A fiber serves thread after thread, so threads that never wait all run on one stack.
void serve() {
    for (;;) {
        entry(work);
        idle[idles++] = current->fiber;
        wait(ENDED);
    }
}

void resume(unsigned index) {
    current = &threads[index];
    threadIdx.x = index;
    if (_setjmp(scheduler)) return;
    if (current->fiber < 0 && idles) current->fiber = idle[--idles];
    if (current->fiber >= 0) _longjmp(fibers[current->fiber].at, 1);
    current->fiber = made++;
    getcontext(&start);
    start.uc_stack.ss_sp = fibers[current->fiber].stack;
    start.uc_stack.ss_size = sizeof fibers[current->fiber].stack;
    makecontext(&start, serve, 0);
    setcontext(&start);
}

// Lets on the lanes whose whole mask, but for threads that have ended, waits at the same kind of barrier.
bool release(Thread* warp) {
    bool released = false;
    for (unsigned lane = 0; lane < WARP; lane++) {
        const State state = warp[lane].state;
        if (state != AT_SHUFFLE && state != AT_SYNCWARP) continue;
        unsigned together = 0, alive = 0;
        for (unsigned i = 0; i < WARP; i++) {
            alive |= unsigned(warp[i].state != ENDED) << i;
            together |= unsigned(warp[i].state == state && warp[i].mask == warp[lane].mask) << i;
        }
        if (warp[lane].mask & alive & ~together) continue;
        for (unsigned i = 0; i < WARP; i++) {
            if (!(together >> i & 1)) continue;
            // What CUDA leaves undefined, a lane that takes no part, reads as a NaN or -1.
            warp[i].received = together >> warp[i].source & 1 ? warp[warp[i].source].value : ~Bits(0);
            warp[i].state = READY;
        }
        released = true;
    }
    return released;
}

void run_block(unsigned block, const int* warps, const int* lanes) {
    const unsigned n_warps = (block + WARP - 1) / WARP;
    for (unsigned i = 0; i < n_warps * WARP; i++) threads[i] = {i < block ? READY : ENDED, -1, 0, 0, 0, 0};
    for (;;) {
        for (unsigned w = 0; w < n_warps; w++) {
            const unsigned first = warps[w] * WARP;
            do {
                for (unsigned i = 0; i < WARP; i++)
                    if (threads[first + lanes[i]].state == READY) resume(first + lanes[i]);
            } while (release(threads + first));
        }
        unsigned count[5] = {}, stuck = 0;
        for (unsigned i = 0; i < block; i++) count[threads[i].state]++;
        if (count[ENDED] == block) return;
        if (count[AT_SYNCTHREADS] + count[ENDED] == block) {
            for (unsigned i = 0; i < block; i++)
                if (threads[i].state == AT_SYNCTHREADS) threads[i].state = READY;
            continue;
        }
        while (threads[stuck].state != AT_SHUFFLE && threads[stuck].state != AT_SYNCWARP) stuck++;
        threadIdx.x = stuck;
        fail("deadlock: waits at %s with mask %#x; of the block %u at a shuffle, %u at __syncwarp, %u at "
             "__syncthreads, %u ended", NAMES[threads[stuck].state], threads[stuck].mask, count[AT_SHUFFLE],
             count[AT_SYNCWARP], count[AT_SYNCTHREADS], count[ENDED]);
    }
}

struct Place { const char* file; unsigned line, column; };  // what g++'s checks tell of themselves first
}  // namespace

extern "C" {
void __syncthreads() { wait(AT_SYNCTHREADS); }
void agauss_syncwarp(unsigned mask) { wait(AT_SYNCWARP, mask); }
Bits agauss_shuffle(unsigned mask, Bits value, unsigned source) {
    current->value = value;
    current->source = source;
    wait(AT_SHUFFLE, mask);
    return current->received;
}

// In place of libubsan's, which would end the process.
void __ubsan_handle_type_mismatch_v1_abort(Place* at, void* p) {
    fail("%s:%u: access to a misaligned or null address, %p", at->file, at->line, p);
}
void __ubsan_handle_out_of_bounds_abort(Place* at, long long i) {
    fail("%s:%u: index %lld out of bounds", at->file, at->line, i);
}
void __ubsan_handle_shift_out_of_bounds_abort(Place* at, long long, long long bits) {
    fail("%s:%u: shift by %lld bits", at->file, at->line, bits);
}

// What went wrong, or null.
const char* agauss_launch(void (*kernel)(const void*), void (*spoil_shared)(), const void* words, unsigned grid,
                          unsigned block, const int* blocks, const int* warps, const int* lanes) {
    entry = kernel;
    work = words;
    blockDim = {block, 1, 1};
    gridDim = {grid, 1, 1};
    if (_setjmp(failed)) {
        idles = made = 0;  // its fibers stand where they stood
        return message;
    }
    for (unsigned i = 0; i < grid; i++) {
        blockIdx.x = blocks[i];
        spoil_shared();
        run_block(block, warps, lanes);
    }
    return nullptr;
}
}
