/* Logistic regression by gradient descent, in C: the same program as train.awk, with the same data and answer.
   Build: cc -O2 -o train train.c -lm    Usage: ./train --lr=0.1 --l2=0.001 --epochs=50 */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FEATURES = 20, TRAIN = 60, TEST = 300 };

typedef struct {
    double x[FEATURES];
    int y;
} Row;

static Row train[TRAIN], test[TEST];
static double weight[FEATURES], bias;

/* The next number in (0, 1): Lehmer's generator. */
static double uniform(void)
{
    static long long seed = 2026;
    seed = seed * 16807 % 2147483647;
    return (double)seed / 2147483647;
}

/* Numbers in (-1, 1). Only the first four matter for the label, and a part of it is noise. */
static void make_data(Row *rows, int count)
{
    for (Row *row = rows; row < rows + count; row++) {
        for (int j = 0; j < FEATURES; j++) row->x[j] = 2 * uniform() - 1;
        double score = 3 * row->x[0] - 2 * row->x[1] + row->x[2] - row->x[3];
        double noise = uniform();
        noise += uniform();
        row->y = score + 2 * (noise - 1) > 0;
    }
}

static double probability(const Row *row)
{
    double score = bias;
    for (int j = 0; j < FEATURES; j++) score += weight[j] * row->x[j];
    return 1 / (1 + exp(-score));
}

/* One step down the gradient of the mean loss; the penalty pulls at the weights, not at the bias. */
static void descend(double lr, double l2)
{
    double slope[FEATURES] = {0}, tilt = 0;
    for (int i = 0; i < TRAIN; i++) {
        double error = (probability(&train[i]) - train[i].y) / TRAIN;
        tilt += error;
        for (int j = 0; j < FEATURES; j++) slope[j] += error * train[i].x[j];
    }
    bias -= lr * tilt;
    for (int j = 0; j < FEATURES; j++) weight[j] -= lr * (slope[j] + l2 * weight[j]);
}

/* The mean of -log(probability of the true label). */
static double loss(const Row *rows, int count)
{
    double sum = 0;
    for (const Row *row = rows; row < rows + count; row++) {
        double p = probability(row);
        sum -= log(fmax(row->y ? p : 1 - p, 1e-12));
    }
    return sum / count;
}

int main(int argc, char **argv)
{
    double lr = 0.1, l2 = 0.0001, epochs = 20;
    struct { const char *flag; double *value; } flags[] = {{"--lr=", &lr}, {"--l2=", &l2}, {"--epochs=", &epochs}};
    for (int i = 1; i < argc; i++) {
        int k = 0;
        while (k < 3 && strncmp(argv[i], flags[k].flag, strlen(flags[k].flag)) != 0) k++;
        if (k == 3) {
            fprintf(stderr, "unknown flag: %s\n", argv[i]);
            return 2;
        }
        *flags[k].value = atof(argv[i] + strlen(flags[k].flag));
    }
    make_data(train, TRAIN);
    make_data(test, TEST);
    for (int epoch = 1; epoch <= epochs; epoch++) descend(lr, l2);
    printf("training loss: %.6f\n", loss(train, TRAIN));
    printf("FoM: %.6f\n", loss(test, TEST));
    return 0;
}
