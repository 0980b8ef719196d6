/* step: a step of a program captured by tinygrad_bc. To compile it alone:

       cc -std=c11 -O3 -g1 -fno-math-errno -fno-trapping-math -ffp-contract=off -fopenmp-simd -march=native -fPIC \
           -fvisibility=protected -shared step.c -o step.so -lm

   Let the members of struct memory point to arrays of these shapes, stored row by row. Call prepare once, and again
   when what is read there has changed; then step for each step, or loop for several. */

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct memory {
    /* what a call is given */
    const double (*X)[500]; /* 9 x 500 */
    const double (*Y)[500]; /* 1 x 500 */
    /* what stays */
    double (*W1)[9]; /* 15 x 9 */
    double (*b1)[1]; /* 15 x 1 */
    double (*W2)[15]; /* 1 x 15 */
    double (*b2)[1]; /* 1 x 1 */
    /* results, and what is kept between */
    double *sum;
    double *Loss;
    double (*dLoss_b2)[1]; /* 1 x 1 */
    double (*dLoss_W2)[15]; /* 1 x 15 */
    double (*dLoss_b1)[1]; /* 15 x 1 */
    double (*dLoss_W1)[9]; /* 15 x 9 */
};

/* The larger; NaN if one is. */
static inline double maximum(double a, double b)
{
    return a > b || a != a ? a : b;
}

/* An integer as a number to which 0x1.8p52 was added. */
static inline double shifted(int64_t n)
{
    const union { double number; int64_t bits; } zero = {0x1.8p52};
    const union { int64_t bits; double number; } sum = {n + zero.bits};
    return sum.number;
}

/* a * b + c, rounded only once where the processor has an instruction for that. */
static inline double multiply_add(double a, double b, double c)
{
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA) || defined(FP_FAST_FMA)
    return fma(a, b, c);
#else
    return a * b + c;
#endif
}

/* log(x), in a form that compilers vectorise. */
static inline double vlog(double x)
{
    const bool small = x < 0x1p-1022;
    const union { double number; uint64_t bits; } whole = {small ? x * 0x1p54 : x}, root = {0x1.6a09e667f3bcdp-1};
    /* x = 2^e m, with m between the roots of 1/2 and 2 */
    const uint64_t biased = (whole.bits - root.bits + ((uint64_t)1023 << 52)) >> 52;
    const int64_t e = (int64_t)biased - 1023;
    const union { uint64_t bits; double number; } m = {whole.bits - ((uint64_t)e << 52)};
    const double n = shifted(e) - 0x1.8p52 - (small ? 54 : 0);
    const double h = m.number - 1, s = h / (2 + h), z = s * s, square = h * h / 2;
    double p = 0x1.2b584aae78a57p-3;
    p = multiply_add(p, z, 0x1.39fe606542ddep-3);
    p = multiply_add(p, z, 0x1.7462b4ab2ef6bp-3);
    p = multiply_add(p, z, 0x1.c71c62e5800a1p-3);
    p = multiply_add(p, z, 0x1.2492492df148dp-2);
    p = multiply_add(p, z, 0x1.99999999952e2p-2);
    p = multiply_add(p, z, 0x1.5555555555558p-1);
    p *= z;
    const double y = n * 0x1.62e42fefa3800p-1 - ((square - (s * (square + p) + n * 0x1.ef35793c76730p-45)) - h);
    const double high = x < INFINITY ? y : x, low = x == 0 ? -INFINITY : NAN;
    return x > 0 ? high : low;
}

/* 2 to the power of n, made of its bits. */
static inline double power_of_two(int64_t n)
{
    const union { uint64_t bits; double number; } power = {(uint64_t)(n + 1023) << 52};
    return power.number;
}

/* The integer in a number to which 0x1.8p52 was added. */
static inline int64_t integer(double shifted)
{
    const union { double number; int64_t bits; } sum = {shifted}, zero = {0x1.8p52};
    return sum.bits - zero.bits;
}

/* exp(x), in a form that compilers vectorise. */
static inline double vexp(double x)
{
    const double near = x < -746.0 ? -746.0 : x > 710.0 ? 710.0 : x; /* NaN stays NaN */
    const double shifted = multiply_add(near, 0x1.71547652b82fep0, 0x1.8p52);
    const double n = shifted - 0x1.8p52; /* the integer nearest to x / log 2 */
    const double r = multiply_add(-n, 0x1.ef35793c76730p-45, multiply_add(-n, 0x1.62e42fefa3800p-1, near));
    double p = 1.0 / 6227020800.0;
    p = multiply_add(p, r, 1.0 / 479001600.0);
    p = multiply_add(p, r, 1.0 / 39916800.0);
    p = multiply_add(p, r, 1.0 / 3628800.0);
    p = multiply_add(p, r, 1.0 / 362880.0);
    p = multiply_add(p, r, 1.0 / 40320.0);
    p = multiply_add(p, r, 1.0 / 5040.0);
    p = multiply_add(p, r, 1.0 / 720.0);
    p = multiply_add(p, r, 1.0 / 120.0);
    p = multiply_add(p, r, 1.0 / 24.0);
    p = multiply_add(p, r, 1.0 / 6.0);
    p = multiply_add(p, r, 1.0 / 2.0);
    const double q = multiply_add(r * r, p, r); /* exp(r) - 1 */
    const int64_t whole = integer(shifted), half = integer(n / 2 + 0x1.8p52); /* 2^n itself may be out of range */
    return (1 + q) * power_of_two(half) * power_of_two(whole - half);
}

int prepare(const struct memory *m)
{
    (void)m;
    return 0;
}

/* What is done for n samples, from number `start` on: few enough for what is kept of them to stay in the cache. */
static inline void tile(const struct memory *m, const long start, const int n)
{
    const double (*const restrict X)[500] = m->X;
    const double (*const restrict Y)[500] = m->Y;
    double (*const restrict W1)[9] = m->W1;
    double (*const restrict b1)[1] = m->b1;
    double (*const restrict W2)[15] = m->W2;
    double (*const restrict b2)[1] = m->b2;
    double *const restrict sum = m->sum;
    double (*const restrict dLoss_b2)[1] = m->dLoss_b2;
    double (*const restrict dLoss_W2)[15] = m->dLoss_W2;
    double (*const restrict dLoss_b1)[1] = m->dLoss_b1;
    double (*const restrict dLoss_W1)[9] = m->dLoss_W1;
    double A1[15][128];
    double product2[128];
    double quotient[128];
    for (int s = 0; s < n; s++)
        product2[s] = 0.0;
    for (long i = 0; i < 15; i++) {
        for (int s = 0; s < n; s++) {
            double product = 0.0;
            for (long j = 0; j < 9; j++)
                product += W1[i][j] * X[j][start + s];
            const double Z1 = product + b1[i][0];
            A1[i][s] = maximum(Z1, 0.0);
            product2[s] += W2[0][i] * A1[i][s];
        }
    }
    double sum_here = 0.0;
    double dLoss_b2_here = 0.0;
    #pragma omp simd reduction(+:sum_here, dLoss_b2_here)
    for (int s = 0; s < n; s++) {
        const double Z2 = product2[s] + b2[0][0];
        const double Yh = 1.0 / (1.0 + vexp(-Z2));
        sum_here += Y[0][start + s] * vlog(Yh) + (1.0 - Y[0][start + s]) * vlog(1.0 - Yh);
        quotient[s] = (Yh - Y[0][start + s]) / 500.0;
        dLoss_b2_here += quotient[s];
    }
    sum[0] += sum_here;
    dLoss_b2[0][0] += dLoss_b2_here;
    for (long i = 0; i < 15; i++) {
        double chosen[128];
        double dLoss_W2_here = 0.0;
        double dLoss_b1_here = 0.0;
        #pragma omp simd reduction(+:dLoss_W2_here, dLoss_b1_here)
        for (int s = 0; s < n; s++) {
            dLoss_W2_here += quotient[s] * A1[i][s];
            const double product3 = W2[0][i] * quotient[s];
            chosen[s] = A1[i][s] > 0.0 ? product3 : 0.0;
            dLoss_b1_here += chosen[s];
        }
        dLoss_W2[0][i] += dLoss_W2_here;
        dLoss_b1[i][0] += dLoss_b1_here;
        for (long j = 0; j < 9; j++) {
            double dLoss_W1_here = 0.0;
            #pragma omp simd reduction(+:dLoss_W1_here)
            for (int s = 0; s < n; s++)
                dLoss_W1_here += chosen[s] * X[j][start + s];
            dLoss_W1[i][j] += dLoss_W1_here;
        }
    }
}

int step(const struct memory *m)
{
    double (*const restrict W1)[9] = m->W1;
    double (*const restrict b1)[1] = m->b1;
    double (*const restrict W2)[15] = m->W2;
    double (*const restrict b2)[1] = m->b2;
    double *const restrict sum = m->sum;
    double *const restrict Loss = m->Loss;
    double (*const restrict dLoss_b2)[1] = m->dLoss_b2;
    double (*const restrict dLoss_W2)[15] = m->dLoss_W2;
    double (*const restrict dLoss_b1)[1] = m->dLoss_b1;
    double (*const restrict dLoss_W1)[9] = m->dLoss_W1;
    memset(sum, 0, sizeof(double));
    memset(dLoss_b2, 0, sizeof(double));
    memset(dLoss_W2, 0, 15 * sizeof(double));
    memset(dLoss_b1, 0, 15 * sizeof(double));
    memset(dLoss_W1, 0, 135 * sizeof(double));
    for (long start = 0; start < 384; start += 128)
        tile(m, start, 128);
    tile(m, 384, 116);
    Loss[0] = -(sum[0] / 500.0);
    for (long i = 0; i < 15; i++) {
        for (long j = 0; j < 9; j++)
            W1[i][j] -= 0.01 * dLoss_W1[i][j];
        b1[i][0] -= 0.01 * dLoss_b1[i][0];
        W2[0][i] -= 0.01 * dLoss_W2[0][i];
    }
    b2[0][0] -= 0.01 * dLoss_b2[0][0];
    return 0;
}

/* So many steps. A number that a call is given may stand in an array, in which `advance` leads to the next. */
int loop(const struct memory *m, const long steps, const long *const advance)
{
    (void)advance; /* there are none */
    struct memory now = *m;
    for (long count = 0; count < steps; count++) {
        const int outside = step(&now);
        if (outside)
            return outside;
    }
    return 0;
}
