"""What crosses the wire between the service and the rollout: metric names and the bins of histograms."""

HIST_LOW = -5.0
HIST_STEP = 0.1
HIST_BINS = 102
"""Bins of a window's z histogram: 100 of 0.1 from -5 to 5, and one more on each side for what lies outside."""

JOINT_BINS = 12
"""Bins per axis of a window's joint histogram of (z, scaled return): edges -2.5 to 2.5 in steps of 0.5."""

UPDATE_BUCKETS_MS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)

PARAMS_UPDATE_MS = "strategy_params_update_duration_ms"
PARAMS_UPDATE_FAILURES = "strategy_params_update_failures"
CRITICAL_ALERTS = "strategy_critical_alerts"
CLOCK_NS = "strategy_market_clock_seconds"
CPU_SECONDS = "strategy_process_cpu_seconds"
RSS_BYTES = "strategy_process_resident_memory_bytes"
WINDOWS_CLOSED = "strategy_windows_closed"
EPOCH = "strategy_rollout_epoch"

LEASE_AGE = "strategy_lease_age_seconds"
LATCHED = "strategy_latched"
KILLED = "strategy_killed"
GUARDRAIL_TRIPS = "strategy_guardrail_trips"
GUARDRAIL_SWAP_MS = "strategy_guardrail_swap_ms"

MODE_ACTIVE = "strategy_mode_active"
MODE_INFO = "strategy_mode"
MODE_LAST_CHANGE = "strategy_mode_last_change_timestamp"
MODE_TRANSITIONS = "strategy_mode_transitions"
TIME_IN_MODE = "strategy_time_in_mode_seconds"
TRIGGER = "strategy_trigger_"
LIVE_INFO = "strategy_live"
SIGNAL_Z = "strategy_signal_z"
PAPER_EXPOSURE = "strategy_paper_exposure"
FEED_AGE = "strategy_feed_age_seconds"
FEED_EVENTS = "strategy_feed_events"
FEED_REFUSED = "strategy_feed_refused_messages"

HELP = {
    PARAMS_UPDATE_MS: "Duration of one parameter update over all symbols, milliseconds.",
    PARAMS_UPDATE_FAILURES: "Parameter updates that were refused, by the module that refused.",
    CRITICAL_ALERTS: "What must never happen: failed updates, output that is no number, guardrails, a disk that fails.",
    CLOCK_NS: "The market clock, seconds since the epoch.",
    CPU_SECONDS: "CPU time of the process, seconds.",
    RSS_BYTES: "Resident memory of the process, bytes.",
    WINDOWS_CLOSED: "Window records closed since the start.",
    EPOCH: "Highest rollout epoch seen.",
    LEASE_AGE: "Time since the lease was renewed, seconds; infinite if it was not since this boot.",
    LATCHED: "1 for the cause for which the service put the baseline back by itself and waits for a person.",
    KILLED: "1 while a symbol is killed: flat, and no orders.",
    GUARDRAIL_TRIPS: "How often the service put the baseline back by itself, by cause.",
    GUARDRAIL_SWAP_MS: "From noticing to the baseline on every symbol, for the latch that holds, milliseconds.",
    MODE_ACTIVE: "1 while the arm is active, 0 while quiet.",
    MODE_INFO: "The arm's mode and parameters, as labels.",
    MODE_LAST_CHANGE: "Market time of the last mode change, seconds since the epoch.",
    MODE_TRANSITIONS: "Mode changes by direction and reason.",
    TIME_IN_MODE: "Market time spent in each mode, seconds.",
    LIVE_INFO: "The live arm of a symbol and its fingerprint, as labels.",
    SIGNAL_Z: "Last z-score of a signal.",
    PAPER_EXPOSURE: "Paper position as a share of the allocation.",
    FEED_EVENTS: "What the live feed went through: messages, reconnects, stalls, resyncs, depth gaps and so on.",
    FEED_REFUSED: "Messages of the live feed that were not used, by reason.",
    FEED_AGE: "Market time since the last event of a symbol, seconds.",
}
"""Text of each metric's HELP line."""
