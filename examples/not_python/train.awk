# Logistic regression by gradient descent, in awk. It makes its own data, always the same.
# Usage: awk -f train.awk -- --lr=0.1 --l2=0.001 --epochs=50

BEGIN {
    given["--lr"] = 0.1; given["--l2"] = 0.0001; given["--epochs"] = 20
    read_flags()
    seed = 2026
    make_data(train, train_y, TRAIN = 60)
    make_data(test, test_y, TEST = 300)
    for (epoch = 1; epoch <= given["--epochs"]; epoch++) descend()
    printf "training loss: %.6f\n", loss(train, train_y, TRAIN)
    printf "FoM: %.6f\n", loss(test, test_y, TEST)
}

function read_flags(   i, flag) {
    for (i = 1; i < ARGC; i++) {
        flag = ARGV[i]; sub(/=.*/, "", flag)
        if (!(flag in given) || ARGV[i] !~ /=/) {
            print "unknown flag: " ARGV[i] > "/dev/stderr"
            exit 2
        }
        given[flag] = substr(ARGV[i], length(flag) + 2) + 0
    }
}

# The next number in (0, 1): Lehmer's generator, whose products awk's numbers hold exactly.
function uniform() { return (seed = seed * 16807 % 2147483647) / 2147483647 }

# Rows of FEATURES numbers in (-1, 1). Only the first four matter for the label, and a part of it is noise.
function make_data(x, y, rows,   i, j, score) {
    FEATURES = 20
    for (i = 1; i <= rows; i++) {
        for (j = 1; j <= FEATURES; j++) x[i, j] = 2 * uniform() - 1
        score = 3 * x[i, 1] - 2 * x[i, 2] + x[i, 3] - x[i, 4] + 2 * (uniform() + uniform() - 1)
        y[i] = score > 0
    }
}

function probability(x, i,   j, score) {
    score = bias
    for (j = 1; j <= FEATURES; j++) score += weight[j] * x[i, j]
    return 1 / (1 + exp(-score))
}

# One step down the gradient of the mean loss; the penalty pulls at the weights, not at the bias.
function descend(   i, j, error, slope, tilt) {
    for (i = 1; i <= TRAIN; i++) {
        error = (probability(train, i) - train_y[i]) / TRAIN
        tilt += error
        for (j = 1; j <= FEATURES; j++) slope[j] += error * train[i, j]
    }
    bias -= given["--lr"] * tilt
    for (j = 1; j <= FEATURES; j++) weight[j] -= given["--lr"] * (slope[j] + given["--l2"] * weight[j])
}

# The mean of -log(probability of the true label).
function loss(x, y, rows,   i, p, sum) {
    for (i = 1; i <= rows; i++) {
        p = probability(x, i)
        if (!y[i]) p = 1 - p
        sum -= log(p > 1e-12 ? p : 1e-12)
    }
    return sum / rows
}
