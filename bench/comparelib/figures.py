"""Statistics: medians and what is known about them.

The interval is made of order statistics, so it assumes nothing about how figures are spread: of n
independent figures each lies below the true median with probability 1/2, so the k-th smallest and
the k-th largest enclose it with probability 1 - 2 P(Binomial(n, 1/2) < k).  k is the largest that
leaves at least 95 %; below six figures there is none, and the interval is that of all of them."""
import math
import statistics

WANTED = 0.95


def coverage(count, rank):
    """With what probability the `rank`-th smallest and the `rank`-th largest of `count` figures
    enclose the median; rank 1 = the smallest and the largest."""
    return 1 - 2 * sum(math.comb(count, i) for i in range(rank)) / 2 ** count


def interval_rank(count):
    """The rank that leaves at least 95 %; 1 if none does."""
    rank = 1
    while rank < (count + 1) // 2 and coverage(count, rank + 1) >= WANTED:
        rank += 1
    return rank


def summary(values):
    """Median and interval of figures, at least one, as a dict."""
    ordered, count = sorted(values), len(values)
    rank = interval_rank(count)
    return {"median": statistics.median(ordered), "low": ordered[rank - 1],
            "high": ordered[count - rank], "count": count,
            "coverage": round(coverage(count, rank), 4)}


def settled(ratio, limit):
    """Does the whole interval lie on one side of the limit, with the certainty that was wanted?"""
    return ratio["coverage"] >= WANTED and (ratio["high"] < limit or ratio["low"] > limit)


def pairs(records, ours, theirs, key):
    """Ratios ours : theirs of the figure `key`.  @param ours, theirs  (row, program)

    Of one row, each run of theirs is held against the run of ours that stood right beside it; of
    two rows, those of one repetition are held against each other."""
    same_row = ours[0] == theirs[0]

    def runs(row, program):
        found = {}
        for record in records:
            value = record["result"].get(key)
            if (record["row"], record["program"]) == (row, program) and value:
                place = record["group"] if same_row else 0
                found.setdefault((record["repetition"], place), []).append(value)
        return {where: statistics.median(values) for where, values in found.items()}
    left, right = runs(*ours), runs(*theirs)
    return [left[where] / right[where] for where in sorted(right) if where in left]
