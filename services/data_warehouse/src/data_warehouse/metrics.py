"""What the warehouse tells about itself."""

from prometheus_client import Counter, Gauge, Histogram

ROWS = Counter("seaway_warehouse_rows_total", "Rows added to the table.")
REPEATED = Counter(
    "seaway_warehouse_repeated_total", "Messages that came again, or are to be forgotten: no row."
)
COMMIT_SECONDS = Histogram(
    "seaway_warehouse_commit_seconds",
    "From a batch to its commit, looking for what came again included.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20),
)
FILES = Gauge("seaway_warehouse_files", "Files that make up the table, after upkeep.")
UPKEEP_FAILED = Counter(
    "seaway_warehouse_upkeep_failed_total", "Rounds of upkeep that another must make up for."
)
