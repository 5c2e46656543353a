#!/bin/sh
# Learn eight weights from noisy examples by stochastic gradient descent for one window; print how wrong they are.
#
#     sh descend.sh --load=PATH --save=PATH --lr=0.1 --momentum=0.5 --steps=300
#
# The checkpoint is a text file with a weight and its velocity on each line. Where there is none to load, all are 0.
set -eu

load='' save='' lr=0.1 momentum=0.0 steps=300
for argument in "$@"; do
    case $argument in
        --load=*) load=${argument#*=} ;;
        --save=*) save=${argument#*=} ;;
        --lr=*) lr=${argument#*=} ;;
        --momentum=*) momentum=${argument#*=} ;;
        --steps=*) steps=${argument#*=} ;;
        *) echo "unknown argument: $argument" >&2; exit 2 ;;
    esac
done
[ -n "$save" ] || { echo "where is the checkpoint to go? give --save=PATH" >&2; exit 2; }
[ -f "$load" ] || load=/dev/null    # the first window

# Written under another name, then renamed: whoever finds a file at $save finds the whole of it.
UNFINISHED="$save.part" awk -v lr="$lr" -v momentum="$momentum" -v steps="$steps" -v seed="${CRAYAI_SEED:-0}" '
    { weight[NR] = $1; velocity[NR] = $2 }

    END {
        WEIGHTS = 8; TESTS = 100; NOISE = 1
        state = 2026                         # the truth and the tests are always the same;
        for (j = 1; j <= WEIGHTS; j++) truth[j] = spread(10)
        for (i = 1; i <= TESTS; i++) for (j = 1; j <= WEIGHTS; j++) test[i, j] = spread(1 / sqrt(j))
        state = 1 + seed % 2147483646        # the examples depend on the seed, which is another one in each window
        for (step = 1; step <= steps; step++) descend()
        for (j = 1; j <= WEIGHTS; j++) printf "%.17g %.17g\n", weight[j], velocity[j] > ENVIRON["UNFINISHED"]
        printf "FoM: %.6g\n", error()
    }

    # The next number in (-width, width): the generator of Lehmer, whose products awk holds exactly.
    function spread(width) { return width * (2 * (state = state * 16807 % 2147483647) / 2147483647 - 1) }

    # A step down the slope of the squared error of one new example.
    function descend(   j, miss) {
        miss = NOISE * spread(1)
        for (j = 1; j <= WEIGHTS; j++) miss += (weight[j] - truth[j]) * (x[j] = spread(1 / sqrt(j)))
        for (j = 1; j <= WEIGHTS; j++) weight[j] += (velocity[j] = momentum * velocity[j] - lr * miss * x[j])
    }

    # The mean squared error of the tests, which have no noise.
    function error(   i, j, miss, sum) {
        for (i = 1; i <= TESTS; i++) {
            miss = 0
            for (j = 1; j <= WEIGHTS; j++) miss += (weight[j] - truth[j]) * test[i, j]
            sum += miss * miss
        }
        return sum / TESTS
    }
' <"$load"
mv -f "$save.part" "$save"
