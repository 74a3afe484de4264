"""The words of docs/benchmarks.md around the figures, section by section."""

HEAD = """# Benchmarks

Written by `make bench`; `make bench ARGS="--only NAME"` measures one section again. Figures of one run on one machine:
the ratios travel, the absolute numbers do not. Where something is *to be held* and was not, the command says so and
fails.
"""

WORKER = """Two worker processes an engine, PostgreSQL with fsync on and Valkey on loopback. *Durable*: the body of the
job does one transaction in PostgreSQL. *Pick-up*: from the enqueue until the body has run, workers idle. Our
*background jobs* do more than the others: a fenced claim in one transaction, the job's change, its counters and its end
in a second one, so that a killed worker loses and doubles nothing; the others' ordinary jobs promise neither.

| engine | durable jobs/s | x {peer} | pick-up p50 ms | pick-up p99 ms |
|---|---|---|---|---|
{rows}
"""

IMPORT = """A CSV of {number:,} leads beside a raw `COPY` of the same rows, already parsed and validated, on the same
server.

| what | seconds | rows/s | x COPY |
|---|---|---|---|
{rows}
"""

LEADS_BULK = """Bulk tasks over {number:,} leads beside one raw `UPDATE` of as many rows, as the tables' owner. The task
commits every slice with its progress, so that it can be cancelled and survives any kill, under row-level security, with
a savepoint for every hundred leads. *Restore* is the undo of the delete.

| task | seconds | leads/s | raw UPDATE, seconds | x raw UPDATE | slices |
|---|---|---|---|---|---|
{rows}
"""

FAN_OUT = """Progress of tasks to {sockets:,} WebSockets of one api process, on loopback: from the commit of a change
until a socket has shown it, or a newer one. To be held: p95 within {limit_ms} ms.

| scene | p50 ms | p95 ms | max ms |
|---|---|---|---|
{rows}
"""

LEDGER = """{number:,} transactions with {counterparties:,} counterparties, in turns on one server; the best of {runs}
rounds of each. *Raw*: finished rows, one `COPY` into a temporary table and one `INSERT … ON CONFLICT` from there into
the table with its indexes and foreign keys, in one transaction. *Sync*: the same documents as pages of {page} in JSON
over HTTP from another process, each one checked, through the job kernel (claims, savepoints, counters, cursors); it
leaves the same rows. To be held: {limit} times at most.

| what | raw s | sync s | documents/s | x raw |
|---|---|---|---|---|
{rows}
"""

TRANSCRIPT_SEARCH = """Search in the transcripts of {calls:,} calls of one business, beside {others:,} of another, with
the application's role under row-level security: one query at a time, from its transaction's first statement to the last
row of the first page. To be held: p95 of all of them within {limit_ms} ms. A frequent word is in thousands of calls.

| queries | number | p50 ms | p95 ms | max ms |
|---|---|---|---|---|
{rows}
"""

FAIRNESS = """{businesses} businesses and two worker processes; one business has a backlog of {backlog:,} separate jobs,
each one slice of {slice_ms:.0f} ms of work. *Start delay*: from the enqueue of a single job of another business until
its slice begins. To be held: p95 within that of idle workers and those {slice_ms:.0f} ms; Jain index of finished jobs
by business within {contended:.0f} s in which everybody has a backlog at least {jain_limit}.

| others' start delay | p50 ms | p95 ms |
|---|---|---|
| workers idle | {found.idle_p50:.0f} | {found.idle_p95:.0f} |
| beside the backlog | {found.beside_p50:.0f} | {found.beside_p95:.0f} |

So the limit was {limit:.0f} ms. From one slice of a worker to its next: {found.slice_mean:.0f} ms. Jain index:
{found.jain:.4f}; the businesses finished {found.least} to {found.most} jobs each.
"""

FAIRNESS_CALLS = """{size.businesses} businesses, two worker processes and one carrier account; its rate, {size.rate:g}
calls a second, is what they share. One business has a run of {size.leads:,} leads. *Start delay*: from the start of
another business's run of one lead until its call leaves. To be held: p95 within that while nobody calls, one slice of a
worker ({slice_ms:.0f} ms) and two turns at the account's rate ({turns_ms:.0f} ms: one call of the long run, and its
own); Jain index of calls by business within {size.contended_s:.0f} s in which everybody has leads to call at least
{jain_limit}.

| others' start delay | p50 ms | p95 ms |
|---|---|---|
| nobody calls | {found.idle_p50:.0f} | {found.idle_p95:.0f} |
| beside the long run | {found.beside_p50:.0f} | {found.beside_p95:.0f} |

So the limit was {limit:.0f} ms. Jain index: {found.jain:.4f}; the businesses placed {found.least} to {found.most}
calls each.
"""

WEBHOOKS = """Signed status callbacks at a fixed rate from a process of its own, four for each call and all kinds mixed.
They go to {apis} replicas of the api on loopback, as many as an installation has by default, after a warm-up of
{warm_up:.0f} s; everything shares the machine's cores. Each is applied before it is acknowledged: the call's state, its
slot, the run's counters. The time counts from the moment at which a callback was due: a stall is charged for all it
holds up. *Lost*: not acknowledged with success, or not in the database afterwards. To be held at 500/s: p99 within
{limit_ms} ms, none lost.

| callbacks/s | number | p50 ms | p95 ms | p99 ms | max ms | CPU of the api, ms each | lost |
|---|---|---|---|---|---|---|---|
{rows}

One replica alone keeps up with 500/s, but at a p99 of some hundred milliseconds: it is one process that is busy nearly
all the time.
"""
