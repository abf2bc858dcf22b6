"""All tables, one after another: some ten minutes.

python -m benchmarks > tables.md
"""

from benchmarks import epoch_compute, latency, replay_night, stamp_error, startup

startup.main()
epoch_compute.main()
replay_night.main()
latency.main()
stamp_error.main()
