// The loops: map, and sums of rows; they know no Gaussian. source.py appends a struct Spec, which says what
// one kernel is (term, types, ranks), and the kernel itself. Before this file it puts LANES, TILE, CHUNK and SHORT_TILE,
// the order of sums, and HEAD, the first fields of struct Work.
//
// An element's place is its row, over the outer dimensions, and its column, over the inner ones. A thread computes
// S::vector adjacent columns at a time. Where S::whole, no row has a ragged end and every vector is aligned in memory.

namespace agauss {

constexpr int WARP = 32;
// Step 0: one element for all columns; 1: columns are adjacent; 2: anything else.
template <class S, int step_> struct Array {
    using Storage = S;
    static constexpr int step = step_;
};
struct Discarded {};  // the storage of an output that nobody wants

template <class... A> struct Arrays { static constexpr int count = sizeof...(A); };
template <int k, class A> struct At;
template <class First, class... Rest> struct At<0, Arrays<First, Rest...>> { using type = First; };
template <int k, class First, class... Rest> struct At<k, Arrays<First, Rest...>> : At<k - 1, Arrays<Rest...>> {};

template <int... k> struct Places {};
template <int n, int... k> struct CountTo : CountTo<n - 1, n - 1, k...> {};
template <int... k> struct CountTo<0, k...> { using type = Places<k...>; };

// All of a launch that is not known when the kernel is compiled; backend.py writes the same words in the same order.
template <class S> struct Work {
    static constexpr int arrays_count = S::Inputs::count + S::noisy + S::Outputs::count;
    long long HEAD;
    long long low[2], high[2];  // the bits of S::Real
    long long extents[S::rank];
    struct {
        long long address;           // of the noise, the linear index that its first element hangs on
        long long strides[S::rank];  // in elements
    } arrays[arrays_count];
};

template <class T, int n> struct Many { T v[n]; };
template <class T> __device__ __forceinline__ Many<T, 1> many(T a) { return {{a}}; }
template <class T> __device__ __forceinline__ Many<T, 1> many(One<T> a) { return {{a.v0}}; }
template <class T> __device__ __forceinline__ Many<T, 2> many(Two<T, T> a) { return {{a.v0, a.v1}}; }
template <class T> __device__ __forceinline__ Many<T, 3> many(Three<T, T, T> a) { return {{a.v0, a.v1, a.v2}}; }
template <class T> __device__ __forceinline__ Many<T, 4> many(Four<T, T, T, T> a) {
    return {{a.v0, a.v1, a.v2, a.v3}};
}
template <class T> __device__ __forceinline__ Many<T, 5> many(Five<T, T, T, T, T> a) {
    return {{a.v0, a.v1, a.v2, a.v3, a.v4}};
}

template <int bytes> struct Bytes;
template <> struct Bytes<2> { using type = unsigned short; };
template <> struct Bytes<4> { using type = unsigned int; };
template <> struct Bytes<8> { using type = uint2; };
template <> struct Bytes<16> { using type = uint4; };

template <class Storage, int n> union Vector {
    typename Bytes<n * sizeof(Storage)>::type at_once;
    Storage each[n];
    __device__ static bool fits(const Storage* p) { return ((unsigned long long)p & (sizeof(at_once) - 1)) == 0; }
};

__device__ __forceinline__ float real_of(long long bits, float) { return __int_as_float(int(bits)); }
__device__ __forceinline__ double real_of(long long bits, double) { return __longlong_as_double(bits); }

// Where column `begin` of a row is in each array of step 1, where the row itself begins in the others, and which element
// of the noise is there, likewise, and of which key. Columns are counted from `begin`, so that an int will do.
template <class S> struct Row {
    long long begin;
    char* at[Work<S>::arrays_count];
    Long element;
    long long key;  // which of several
};

template <class S> __device__ __forceinline__ long long sample_id(const Work<S>& w, int axis, long long place) {
    return S::indexed && axis == S::batch ? ((const long long*)w.index)[place] : place;
}

// For places n along axes first ... last, calls visit(axis, place along it).
template <int first, int last, class S, class F>
__device__ __forceinline__ void unravel(const Work<S>& w, long long n, F visit) {
    if constexpr (last > first) {
        long long rest = n / w.extents[last];
        visit(last, n - rest * w.extents[last]);
        unravel<first, last - 1>(w, rest, visit);
    } else {
        visit(first, n);
    }
}

template <class S, int... k>
__device__ __forceinline__ Row<S> row_at(const Work<S>& w, long long number, long long begin, Places<k...>) {
    Row<S> row;
    long long offsets[] = {(S::template step<k>() == 1 ? begin : 0)...};
    row.begin = begin;
    row.element = S::noise_step == 1 ? begin : 0;
    row.key = 0;
    if constexpr (S::noisy) row.element += w.arrays[S::Inputs::count].address;
    unravel<0, S::outer - 1>(w, number, [&](int axis, long long place) {
        ((offsets[k] += place * w.arrays[k].strides[axis]), ...);
        if (S::keyed && axis == S::batch) row.key = place;
        if constexpr (S::noisy) row.element += sample_id<S>(w, axis, place) * w.arrays[S::Inputs::count].strides[axis];
    });
    ((row.at[k] = (char*)w.arrays[k].address + offsets[k] * S::template size<k>()), ...);
    return row;
}

template <class S>
__device__ __forceinline__ Row<S> row_at(const Work<S>& w, long long number, long long begin = 0) {
    return row_at<S>(w, number, begin, typename CountTo<Work<S>::arrays_count>::type());
}

// How far column c of array k is from its row's beginning, in elements.
template <class S, int k> __device__ __forceinline__ long long column_offset(const Work<S>& w, long long c) {
    long long offset = 0;
    unravel<S::outer, S::rank - 1>(
        w, c, [&](int axis, long long place) { offset += place * w.arrays[k].strides[axis]; });
    return offset;
}

// Columns column + i, i in first ... last - 1, of input k.
template <class S, int k>
__device__ __forceinline__ void load(
    typename S::Real (&x)[S::vector], const Work<S>& w, const Row<S>& row, int column, int first, int last) {
    using A = typename At<k, typename S::Inputs>::type;
    using Storage = typename A::Storage;
    const Storage* p = (const Storage*)row.at[k];
    if constexpr (A::step == 0) {
        auto same = read(*p);
#pragma unroll
        for (int i = 0; i < S::vector; ++i) x[i] = same;
    } else if constexpr (A::step == 1) {
        p += column;
        using V = Vector<Storage, S::vector>;
        if (S::whole || (first == 0 && last == S::vector && V::fits(p))) {
            V v;
            v.at_once = *(const decltype(v.at_once)*)p;
#pragma unroll
            for (int i = 0; i < S::vector; ++i) x[i] = read(v.each[i]);
        } else {
#pragma unroll
            for (int i = 0; i < S::vector; ++i) x[i] = first <= i && i < last ? read(p[i]) : 0;
        }
    } else {
#pragma unroll
        for (int i = 0; i < S::vector; ++i)
            x[i] = first <= i && i < last ? read(p[column_offset<S, k>(w, row.begin + column + i)]) : 0;
    }
}

template <class S, int k>
__device__ __forceinline__ void store(
    const typename S::Real (&x)[S::vector], const Work<S>& w, const Row<S>& row, int column, int first, int last) {
    using A = typename At<k, typename S::Outputs>::type;
    using Storage = typename A::Storage;
    constexpr int place = S::Inputs::count + S::noisy + k;
    Storage* p = (Storage*)row.at[place];
    if constexpr (A::step == 1) {
        p += column;
        using V = Vector<Storage, S::vector>;
        if (S::whole || (first == 0 && last == S::vector && V::fits(p))) {
            V v;
#pragma unroll
            for (int i = 0; i < S::vector; ++i) write(v.each[i], x[i]);
            __stwb((decltype(v.at_once)*)p, v.at_once);  // a plain assignment may be split
        } else {
#pragma unroll
            for (int i = 0; i < S::vector; ++i)
                if (first <= i && i < last) write(p[i], x[i]);
        }
    } else {
#pragma unroll
        for (int i = 0; i < S::vector; ++i)
            if (first <= i && i < last) write(p[column_offset<S, place>(w, row.begin + column + i)], x[i]);
    }
}

template <class S> constexpr int PER_BLOCK = sizeof(typename S::Real) == 4 ? 4 : 2;  // normals

// A word of a key; where S::pointed, what is given is the address of those of all keys.
template <class S> __device__ __forceinline__ Word key_word(long long given, long long key) {
    if constexpr (S::pointed) return __ldg((const Word*)given + (S::keyed ? key : 0));
    return Word(given);
}

template <class S>
__device__ __forceinline__ void normals_of_block(
    typename S::Real* x, const Work<S>& w, Long block, long long key) {
    using Real = typename S::Real;
    Word seed_low = key_word<S>(w.seed_low, key), seed_high = key_word<S>(w.seed_high, key);
    Word stream = key_word<S>(w.stream, key);
    auto words = philox(Word(block), Word(block >> 32), Word(w.draw), stream, seed_low, seed_high);
    if constexpr (sizeof(Real) == 4) {
        auto n = normals32(words, Real(0));
        x[0] = n.v0, x[1] = n.v1, x[2] = n.v2, x[3] = n.v3;
    } else {
        auto n = normals64(words, Real(0));
        x[0] = n.v0, x[1] = n.v1;
    }
}

// x[n] without an index register, which would send x to local memory.
template <class T, int size> __device__ __forceinline__ T pick(const T (&x)[size], int n) {
    T found = x[0];
#pragma unroll
    for (int i = 1; i < size; ++i) found = n == i ? x[i] : found;
    return found;
}

// The noise of columns column ... column + S::vector - 1.
template <class S>
__device__ __forceinline__ void noise_at(
    typename S::Real (&x)[S::vector], const Work<S>& w, const Row<S>& row, int column, int first, int last) {
    constexpr int per_block = PER_BLOCK<S>;
    if constexpr (S::noise_step == 1) {
        Long element = row.element + column, block = element / per_block;
        if constexpr (S::whole) block = row.element / per_block + column / per_block;
        int head = element % per_block;
        typename S::Real made[S::vector + per_block];
#pragma unroll
        for (int b = 0; b < S::vector; b += per_block) normals_of_block(made + b, w, block++, row.key);
        if (S::whole || head == 0) {
#pragma unroll
            for (int i = 0; i < S::vector; ++i) x[i] = made[i];
        } else {
            normals_of_block(made + S::vector, w, block, row.key);
#pragma unroll
            for (int i = 0; i < S::vector; ++i) {
                typename S::Real near[per_block];
#pragma unroll
                for (int j = 0; j < per_block; ++j) near[j] = made[i + j];
                x[i] = pick(near, head);
            }
        }
    } else {
#pragma unroll 1
        for (int i = 0; i < S::vector; ++i) {
            if (i < first || i >= last) continue;
            Long element = row.element;
            long long key = row.key;
            unravel<S::outer, S::rank - 1>(w, row.begin + column + i, [&](int axis, long long place) {
                if (S::keyed && axis == S::batch) key = place;
                element += sample_id<S>(w, axis, place) * w.arrays[S::Inputs::count].strides[axis];
            });
            typename S::Real made[per_block];
            normals_of_block(made, w, element / per_block, key);
            auto found = pick(made, element % per_block);
#pragma unroll
            for (int j = 0; j < S::vector; ++j) x[j] = j == i ? found : x[j];
        }
    }
}

// The term's values at the inputs `raw`, between the bounds on the inputs and the bounds' derivatives.
template <class S, int... k>
__device__ __forceinline__ auto evaluate(
    const Work<S>& w, const typename S::Real (&raw)[sizeof...(k)], Places<k...>) {
    using Real = typename S::Real;
    Real in[] = {raw[k]...};
    Real low0 = real_of(w.low[0], Real(0)), high0 = real_of(w.high[0], Real(0));
    Real low1 = real_of(w.low[1], Real(0)), high1 = real_of(w.high[1], Real(0));
    if constexpr (S::bounded0 >= 0) in[S::bounded0] = S::bound0(raw[S::bounded0], low0, high0);
    if constexpr (S::bounded1 >= 0) in[S::bounded1] = S::bound1(raw[S::bounded1], low1, high1);
    auto values = many(S::term(in[k]...));
    if constexpr (S::chained0 >= 0)
        values.v[S::chained0] = S::bound0_vjp(values.v[S::chained0], raw[S::bounded0], low0, high0);
    if constexpr (S::chained1 >= 0)
        values.v[S::chained1] = S::bound1_vjp(values.v[S::chained1], raw[S::bounded1], low1, high1);
    return values;
}

// Columns column + i of a row, for i in first ... last - 1: outputs are stored, and value S::summed is handed back.
template <class S, int... in, int... out>
__device__ __forceinline__ void compute(
    typename S::Real (&summed)[S::vector], const Work<S>& w, const Row<S>& row, int column, int first, int last,
    Places<in...>, Places<out...>) {
    using Real = typename S::Real;
    constexpr int inputs = S::Inputs::count + S::noisy, outputs = S::Outputs::count;
    Real x[inputs][S::vector], y[outputs + 1][S::vector];
    (load<S, in>(x[in], w, row, column, first, last), ...);
    if constexpr (S::noisy) noise_at<S>(x[inputs - 1], w, row, column, first, last);
#pragma unroll
    for (int i = 0; i < S::vector; ++i) {
        Real raw[inputs];
#pragma unroll
        for (int k = 0; k < inputs; ++k) raw[k] = x[k][i];
        auto values = evaluate<S>(w, raw, typename CountTo<inputs>::type());
#pragma unroll
        for (int k = 0; k < outputs; ++k) y[k][i] = values.v[k];
        if constexpr (S::summed >= 0) summed[i] = values.v[S::summed];
    }
    (store<S, out>(y[out], w, row, column, first, last), ...);
}

template <class S>
__device__ __forceinline__ void compute(
    typename S::Real (&summed)[S::vector], const Work<S>& w, const Row<S>& row, int column, int first, int last) {
    compute<S>(summed, w, row, column, first, last, typename CountTo<S::Inputs::count>::type(), typename S::Kept());
}

// Vector number `v` from row.begin on; hands back its first column. Where rows are ragged, vectors begin where a block of
// the noise does, or else where the first array's memory is aligned; so the first one may reach out of the row, as the
// last one does.
template <class S>
__device__ __forceinline__ int compute_vector(
    typename S::Real (&summed)[S::vector], const Work<S>& w, const Row<S>& row, int v) {
    if constexpr (S::whole) {
        compute<S>(summed, w, row, v * S::vector, 0, S::vector);
        return v * S::vector;
    } else {
        int shift = 0;
        if constexpr (S::noisy && S::noise_step == 1) {
            shift = row.element % PER_BLOCK<S>;
        } else if constexpr (S::aligned >= 0) {
            shift = (unsigned long long)row.at[S::aligned] / S::template size<S::aligned>() % S::vector;
        }
        int column = v * S::vector - shift;
        long long before = -row.begin - column, after = w.columns - row.begin - column;
        int first = before > 0 ? int(before) : 0, last = after < S::vector ? int(after) : S::vector;
        if (first < last) compute<S>(summed, w, row, column, first, last);
        return column;
    }
}

// n / d for magic = ceil(2^32 / d), exact while n * d < 2^32.
__device__ __forceinline__ unsigned quotient(unsigned n, long long magic) { return unsigned(n * Long(magic) >> 32); }

template <class S> __device__ __forceinline__ void map(const Work<S>& w) {
    typename S::Real unused[S::vector];
    for (unsigned tile = blockIdx.x; tile < w.tasks; tile += gridDim.x) {
        if constexpr (S::packed) {
            for (unsigned n = threadIdx.x; n < w.tile_rows * w.vectors; n += blockDim.x) {
                unsigned local = quotient(n, w.magic);
                long long row = tile * w.tile_rows + local;
                if (row < w.rows) compute_vector<S>(unused, w, row_at<S>(w, row), n - local * unsigned(w.vectors));
            }
        } else {
            unsigned number = tile / unsigned(w.pieces);
            long long begin = (tile - number * unsigned(w.pieces)) * w.piece;
            int vectors = w.vectors - begin < w.piece ? int(w.vectors - begin) : int(w.piece);
            Row<S> row = row_at<S>(w, number, begin * S::vector);
            for (int v = threadIdx.x; v < vectors; v += blockDim.x) compute_vector<S>(unused, w, row, v);
        }
    }
}

// The sum of a tile's lanes, in double precision and by halves: lanes k and k + 32, then k and k + 16, ... Threads share
// the work of the first steps. The tile's first thread has the sum.
__device__ __forceinline__ double lane_sum(const float (&lanes)[4]) {
    // Half a warp has a tile, and its thread t the lanes 4 t + (0, 1, 2, 3).
    double a = lanes[0], b = lanes[1], c = lanes[2], d = lanes[3];
    bool upper = threadIdx.x & 8, odd = threadIdx.x & 4;
    double e = (upper ? c : a) + __shfl_xor_sync(~0u, upper ? a : c, 8);
    double f = (upper ? d : b) + __shfl_xor_sync(~0u, upper ? b : d, 8);
    double x = (odd ? f : e) + __shfl_xor_sync(~0u, odd ? e : f, 4);
    for (int step = 2; step > 0; step /= 2) x += __shfl_xor_sync(~0u, x, step);
    x += __shfl_xor_sync(~0u, x, 8);
    return x + __shfl_xor_sync(~0u, x, 4);
}
__device__ __forceinline__ double lane_sum(const double (&lanes)[2]) {
    // A warp has a tile, and its thread t the lanes 2 t + (0, 1).
    bool upper = threadIdx.x & 16;
    double x = (upper ? lanes[1] : lanes[0]) + __shfl_xor_sync(~0u, upper ? lanes[0] : lanes[1], 16);
    for (int step = 8; step > 0; step /= 2) x += __shfl_xor_sync(~0u, x, step);
    return x + __shfl_xor_sync(~0u, x, 16);
}

// Where tile sums go that are another block's to add up, CHUNK / TILE for each chunk. Before them there is room for the
// chunks' sums, twice.
template <class S> __device__ __forceinline__ double* tile_sums(const Work<S>& w) {
    return (double*)w.partials + 2 * w.rows * w.pieces;
}

// The sum of tiles in order, of a chunk of so many columns or more. Many loads are under way at once, for each is a trip
// to where other blocks' stores are seen; a tile that is not there adds 0, which changes no bit of a sum begun with 0.
__device__ __forceinline__ double sum_of_tiles(const double* sums, long long columns) {
    constexpr int at_once = 16;
    double total = 0;
#pragma unroll 1
    for (int first = 0; first < CHUNK / TILE && first * TILE < columns; first += at_once) {
        double some[at_once];
#pragma unroll
        for (int i = 0; i < at_once; ++i) some[i] = (first + i) * TILE < columns ? __ldcg(sums + first + i) : 0;
#pragma unroll
        for (int i = 0; i < at_once; ++i) total += some[i];
    }
    return total;
}

// The last block to come here adds up tiles in order, if other blocks have not, and then chunks, always neighbours: so
// the order depends on a row's length alone.
template <class S> __device__ __forceinline__ void sum_partials(const Work<S>& w) {
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) last = atomicAdd((unsigned*)w.counter, 1u) == gridDim.x - 1;
    __syncthreads();
    if (!last) return;
    __threadfence();
    long long chunks = w.rows * w.pieces;
    volatile double *from = (volatile double*)w.partials, *to = from + chunks;
    if (w.parts > 1) {
        for (long long chunk = threadIdx.x; chunk < chunks; chunk += blockDim.x) {
            from[chunk] = sum_of_tiles(tile_sums(w) + chunk * (CHUNK / TILE), w.columns - chunk % w.pieces * CHUNK);
        }
        __syncthreads();
    }
    for (long long n = w.pieces, half = (n + 1) / 2; n > 1; n = half, half = (n + 1) / 2) {
        for (long long i = threadIdx.x; i < w.rows * half; i += blockDim.x) {
            volatile double* pair = from + i / half * n + i % half * 2;
            to[i] = i % half * 2 + 1 < n ? pair[0] + pair[1] : pair[0];
        }
        __syncthreads();
        volatile double* done = from;
        from = to;
        to = done;
    }
    for (long long i = threadIdx.x; i < w.rows; i += blockDim.x) write(((typename S::Total*)w.sums)[i], double(from[i]));
    if (threadIdx.x == 0) *(unsigned*)w.counter = 0;
}

// Rows of at least 2 LANES columns: a block sums a chunk, or a part of one, and a group of threads a tile of it.
template <class S> __device__ __forceinline__ void row_reduce(const Work<S>& w) {
    using Real = typename S::Real;
    constexpr int group = LANES / S::vector, per_warp = WARP / group;
    __shared__ double tiles[CHUNK / TILE];
    int me = threadIdx.x % group, tiles_at_once = blockDim.x / group;
    for (unsigned task = blockIdx.x; task < w.tasks; task += gridDim.x) {
        unsigned chunk = task / unsigned(w.parts), part = task - chunk * unsigned(w.parts);
        unsigned number = chunk / unsigned(w.pieces);
        long long begin = (long long)(chunk - number * unsigned(w.pieces)) * CHUNK;
        int count = w.columns - begin < CHUNK ? int(w.columns - begin) : CHUNK;
        int stop = (part + 1) * int(w.piece) * TILE < count ? (part + 1) * int(w.piece) * TILE : count;
        Row<S> row = row_at<S>(w, number, begin);
        // All threads of a warp take the same turns, for they sum their lanes together.
        for (int turn = part * int(w.piece) + threadIdx.x / WARP * per_warp; turn * TILE < stop; turn += tiles_at_once) {
            int tile = turn + threadIdx.x % WARP / group;
            Real lanes[S::vector] = {};
            int end = (tile + 1) * TILE < stop ? (tile + 1) * TILE : stop;
            for (int place = tile * TILE + me * S::vector; place < end; place += LANES) {
                Real summed[S::vector];
                int last = S::whole || end - place >= S::vector ? S::vector : end - place;
                compute<S>(summed, w, row, place, 0, last);
#pragma unroll
                for (int i = 0; i < S::vector; ++i)
                    if (S::whole || i < last) lanes[i] += summed[i];
            }
            __syncwarp();
            double sum = lane_sum(lanes);
            if (me == 0 && tile * TILE < stop) {
                if (w.parts == 1) {
                    tiles[tile] = sum;
                } else {
                    __stcg(tile_sums(w) + chunk * (CHUNK / TILE) + tile, sum);
                }
            }
        }
        __syncthreads();
        if (threadIdx.x == 0 && w.parts == 1) {
            double total = 0;
            for (int tile = 0; tile * TILE < count; ++tile) total += tiles[tile];
            if (w.pieces == 1) {
                write(((typename S::Total*)w.sums)[chunk], total);
            } else {
                ((volatile double*)w.partials)[chunk] = total;
            }
        }
        __syncthreads();
    }
    if (w.pieces * w.parts > 1) sum_partials<S>(w);
}

// The sum of lanes k, k + width, ..., by halves: lane k is columns k and, where there are as many, k + LANES.
template <int width, class T> __device__ __forceinline__ double tree(const T* row, int columns, int k) {
    if constexpr (width == LANES) {
        return k + LANES < columns ? row[k] + row[k + LANES] : row[k];
    } else {
        return tree<2 * width>(row, columns, k) + tree<2 * width>(row, columns, k + width);
    }
}

// Rows of fewer than 2 LANES columns: a block computes some into shared memory, then a thread sums a row.
template <class S> __device__ __forceinline__ void short_rows(const Work<S>& w) {
    using Real = typename S::Real;
    __shared__ Real computed[SHORT_TILE];
    int pitch = int(w.columns) | 1;  // odd, so that the threads' rows begin in different banks
    for (unsigned tile = blockIdx.x; tile < w.tasks; tile += gridDim.x) {
        long long begin = tile * w.tile_rows;
        int rows = w.rows - begin < w.tile_rows ? int(w.rows - begin) : int(w.tile_rows);
        for (unsigned n = threadIdx.x; n < rows * w.vectors; n += blockDim.x) {
            unsigned local = quotient(n, w.magic);
            Real summed[S::vector];
            int column = compute_vector<S>(summed, w, row_at<S>(w, begin + local), n - local * unsigned(w.vectors));
            Real* own = computed + local * pitch + column;
#pragma unroll
            for (int i = 0; i < S::vector; ++i)
                if (S::whole || (column + i >= 0 && column + i < w.columns)) own[i] = summed[i];
        }
        __syncthreads();
        for (int local = threadIdx.x; local < rows; local += blockDim.x) {
            const Real* own = computed + local * pitch;
            double total = 0;
            if (w.columns < LANES) {
                for (int column = 0; column < w.columns; ++column) total += own[column];
            } else {
                // tree<1>, a quarter at a time, for its 64 loads at once take too many registers.
#pragma unroll 1
                for (int k = 0; k < 2; ++k) {
                    double half = 0;
#pragma unroll 1
                    for (int j = k; j < 4; j += 2) half += tree<4>(own, int(w.columns), j);
                    total += half;
                }
            }
            write(((typename S::Total*)w.sums)[begin + local], total);
        }
        __syncthreads();
    }
}

}  // namespace agauss
