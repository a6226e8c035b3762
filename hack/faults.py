"""Makes docs/faults.md: which faults the operator is tried with, what must become of them, and what did.

An experiment of `make chaos` bears the id of its fault. Its results are kept in chaos/results.json; UPDATE=1 takes those of
the last run, below target/chaos, into it, and writes the page. Without UPDATE, the page must be as it would be written.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from pages import write_or_compare

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "faults.md"
KEPT = ROOT / "chaos" / "results.json"
LAST = ROOT / "target" / "chaos"
EXPERIMENTS = ROOT / "chaos" / "src" / "experiments.rs"

# Id, fault, what must become of it, tests elsewhere that try it or a part of it, and what is open.
ITEMS = [
    ("R1", "killed before and after every write: install, objects made, changed, deleted, a new root",
     "the end state of a run without faults, at every point, within 30 s", [], ""),
    ("R2", "killed before the first status, after the first ConfigMap is made and removed",
     "nothing left over, nothing twice; there are no finalizers", [], ""),
    ("R3", "lists of before after a reconnect; an object deleted and made anew under its name",
     "nothing meant for the old object reaches the new one", [], ""),
    ("R4", "events lost until the next list, repeated, late, in every kind", "the same end state", [], ""),
    ("R5", "410 at every watch, by answer and by event; the storage is compacted, and the API server begins anew", "at most one list in 5 s for each kind",
     ["the_wait_grows_while_watches_break_soon_after_they_were_opened"], ""),
    ("R6", "504, too large resource version", "recovers without a restart", [], ""),
    ("R7", "409 to every write; another writer in our objects", "converges; at most 5 tries more; fields of others stay", [], ""),
    ("R8", "429 and 503 to everything for a while",
     "`Retry-After` is kept, requests fall by nine tenths, and a change arrives within 15 s afterwards",
     ["what_was_refused_is_asked_again_when_the_time_is_over_and_not_before"], ""),
    ("R9", "the API server is away, then silent", "the process stays; a change arrives within 30 s of its return",
     ["while_the_api_server_restarts_traffic_goes_on_and_afterwards_policy_changes_again",
      "an_api_server_that_is_back_is_noticed_within_ten_seconds_however_long_it_was_away",
      "what_an_api_server_answers_that_is_back_is_not_waited_for_as_if_it_were_away_still"],
     ""),
    ("R10", "the operator is away for less than a certificate's life",
     "no failed request; every certificate is renewed once it is back",
     ["an_operator_that_is_away_for_a_third_of_a_certificates_life_leaves_nobody_without_one",
      "while_the_operator_is_away_traffic_goes_on_and_a_killed_proxy_comes_back_with_its_policy"], ""),
    ("R11", "the operator is away for longer than a certificate's life", "open until then, closed afterwards, with the reason; an alert before",
     ["certificates_that_run_out_close_the_mesh_and_it_opens_again_with_the_operator",
      "a_certificate_that_ran_out_is_asked_for_until_it_is_given_and_the_pod_stays_ready"],
     ""),
    ("R12", "the leader is stopped for longer than its Lease, then goes on: two leaders",
     "it steps down; no revision goes back", ["others_wait_until_the_holder_was_silent_for_the_whole_duration"], ""),
    ("R13", "the leader is killed; the leader is asked to go", "17 s; 3 s; no Event twice",
     ["a_leader_that_is_deleted_by_force_is_followed_and_no_status_flaps_and_no_event_is_told_twice",
      "a_leader_that_is_replaced_by_a_rollout_hands_over_and_no_status_flaps_and_no_event_is_told_twice"], ""),
    ("R14", "clocks that are off, and that jump",
     "leases by the process's own clock; certificates bear 60 s of difference and not 10 minutes",
     ["others_wait_until_the_holder_was_silent_for_the_whole_duration", "c3_clocks_may_differ_by_20_seconds_and_not_by_10_minutes",
      "a_clock_that_is_an_hour_slow_changes_nothing"],
     "no clock of a running operator or node is set"),
    ("R15", "the webhooks' certificate is exchanged under load", "no admission fails", ["renewal_keeps_the_authority"],
     "not under load of 100 pods/s"),
    ("R16", "caBundles are taken out by somebody else's tool", "back within 10 s", [], ""),
    ("R17", "a webhook configuration is deleted", "restored, with an Event", [],
     "the chart makes it, and the operator may not create one: it counts what is missing in its metrics"),
    ("R18", "a new root, with a kill at each step", "no failed request; no peer meets an unknown root",
     ["a_root_that_is_exchanged_while_the_operator_comes_and_goes_is_exchanged_all_the_same",
      "a_root_is_exchanged_under_load_without_a_failure_and_without_plaintext"],
     "R1 kills at every write of it, without traffic"),
    ("R19", "the authority's Secret is deleted, and damaged", "no new root; it is told; nothing else changes", [], ""),
    ("R20", "a ConfigMap is deleted, edited, cut, emptied, filled with garbage", "as before within 10 s",
     ["a_configuration_that_was_edited_by_hand_is_put_right", "a_configuration_that_was_deleted_is_written_again"], ""),
    ("R21", "a configuration of about a megabyte", "kept, or refused with a condition; no request near etcd's limit",
     ["f15_a_configuration_that_is_too_long_for_a_configmap_is_compressed_and_enforced",
      "s2_own_routes_are_left_out_after_every_import_and_the_policy_stays",
      "s2_a_policy_that_cannot_be_expressed_refuses_everybody"], ""),
    ("R22", "10,000 endpoints that change", "2 s at p99, one core, 500 MB", [], ""),
    ("R23", "1,000 objects at once; 1,000 namespaces", "all have their status within 60 s; 50 requests/s", [],
     ""),
    ("R24", "nothing happens", "no write but the Lease", ["an_idle_mesh_writes_nothing_but_its_lease"], ""),
    ("R25", "changes that change nothing", "no write", ["objects_that_say_the_same_again_cause_no_write"], ""),
    ("R26", "invalid values in every field of the definitions, then back", "refused, or something is said of them; full recovery",
     [], "UDPRoute and IdentityBinding are not walked"),
    ("R27", "objects, an account and a namespace go while the operator is down", "nothing is left; there are no finalizers",
     ["a_namespace_in_the_mesh_is_deleted_without_remains"], ""),
    ("R28", "the chart is removed with everything in use", "no pod is blocked",
     ["after_an_uninstall_proxies_go_on_with_what_they_have_until_the_mesh_is_back"], ""),
    ("R29", "the right to one kind is taken away and given back", "others go on; recovers without a restart", [],
     "told in log and metrics; there is no condition for it"),
    ("R30", "stored versions go down and up while nobody converts", "readable and migrated afterwards",
     ["definitions_and_objects_of_an_earlier_mesh_are_adopted"], ""),
    ("R31", "the stream is cut, slow, reordered; one reader is stuck", "others are not held up; the newest state afterwards",
     ["a_new_stream_is_told_everything_again", "a_change_is_in_the_mount_within_the_kubelets_period",
      "whatever_becomes_of_the_network_newer_policy_takes_hold_and_older_never_does",
      "a_reader_that_is_stuck_delays_nobody_and_then_hears_the_newest_and_no_backlog"], ""),
    ("R32", "stream and ConfigMap disagree", "the higher revision counts, and never back",
     ["the_mount_may_be_behind_the_stream_and_never_leads_back", "an_older_mount_leads_neither_back_nor_to_a_complaint",
      "a_mount_that_is_behind_the_stream_leads_nobody_back_not_even_over_a_restart",
      "a_mount_that_is_ahead_of_the_stream_counts_and_the_stream_leads_nobody_back"], ""),
    ("R33", "no file descriptors; out of memory", "stays up, without being kept busy; ends, and converges after the next start",
     [], "the operator writes no files, so a full disk is not tried"),
    ("R34", "a quota of no ConfigMaps in a namespace", "others go on; recovers when the cause is gone", [],
     "labels of our Deployment and disruption budgets need nodes, and are not tried"),
    ("noise", "delays, cuts, repetitions, 409, 410, 429, 500 in every stage, by a seed", "the same end state", [], ""),
]

# What the bench measures, by id: the beginning of its row.
MEASURED = {"R22": re.compile(r"^\| (\d+ pod changes a second for \d+ s, and [^|]*) \| ([^|]*) \|", re.MULTILINE)}
BENCH = ROOT / "bench/results/scale.md"

TEST = re.compile(r"^\s*(?:async )?fn (\w+)\(", re.MULTILINE)


def tests():
    """File of each test."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.rs"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )
    found = {}
    for file in sorted(listed.stdout.split()):
        path = ROOT / file
        if path.is_file():
            found.update({name: file for name in TEST.findall(path.read_text())})
    return found


def results():
    """What was measured, by id."""
    kept = json.loads(KEPT.read_text()) if KEPT.is_file() else {}
    if os.environ.get("UPDATE") == "1" and LAST.is_dir():
        for one in (one for file in sorted(LAST.rglob("results.json")) for one in json.loads(file.read_text())):
            kept[one["id"]] = one
        KEPT.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n")
    return kept


def page():
    """The text of the page."""
    known, measured = tests(), results()
    experiments = re.findall(r'^ +id: "(\w+)"', EXPERIMENTS.read_text(), re.MULTILINE)
    strangers = sorted(set(experiments) - {item[0] for item in ITEMS})
    missing = sorted({name for item in ITEMS for name in item[3]} - set(known))
    if strangers or missing:
        sys.exit(f"FAILED hack/faults.py: experiments that it does not list: {strangers}; tests that are gone: {missing}")
    lines = [
        "# Faults",
        "",
        "What the operator is tried with, what must become of it, and what did. `make chaos` starts etcd, a Kubernetes API server",
        "and the operator, with a proxy between the two that delays, cuts, repeats, refuses, tells old things, and kills the",
        "operator. Afterwards the cluster must be as a run without faults left it: ConfigMaps, statuses, Events, Secrets and",
        "`caBundle`s, without UIDs, versions, times, revisions and keys. No policy may ever go back to an earlier revision.",
        "",
        "`make chaos EXPERIMENTS=\"R1 R8\"` runs single ones, and `SEED=7` draws chance from that seed: what failed with it fails again.",
        "Waits of minutes are shortened; `FULL=1` waits them out. After a kill the Lease is let go at once, so that each of the many",
        "restarts takes a second; R12 and R13 wait for the real Lease. There are no nodes: what concerns traffic is tried by `make e2e`.",
        "",
        "The page is made by `hack/check-faults`.",
        "",
        "| id | fault | what must become of it | outcome | tried by |",
        "|---|---|---|---|---|",
    ]
    for identity, fault, must, names, reason in ITEMS:
        by = [f"`{name}` ({known[name]})" for name in names]
        outcome = []
        if identity in experiments:
            by.insert(0, f"`make chaos EXPERIMENTS={identity}`")
            one = measured.get(identity)
            if one is None:
                outcome.append("not run yet")
            else:
                outcome.append(("" if one["verdict"] == "passed" else "FAILED: ") + flat(one["figures"]))
        if identity in MEASURED:
            by.insert(0, "`make bench-scale`")
            row = MEASURED[identity].search(BENCH.read_text())
            outcome.append(f"{row[1]}: {row[2]}" if row else "not run yet")
        if not by:
            outcome.append("open")
        if reason:
            outcome.append(f"open: {reason}" if by else reason)
        lines.append(f"| {identity} | {fault} | {must} | {'; '.join(outcome) or 'its tests pass'} | {'<br>'.join(by)} |")
    passed = sum(measured.get(one, {}).get("verdict") == "passed" for one in experiments)
    lines += ["", f"{passed} of {len(experiments)} experiments passed when they were last run.", ""]
    return "\n".join(lines)


def flat(text):
    """One line of a table."""
    short = " ".join(text.split()).replace("|", "\\|")
    return short if len(short) <= 400 else short[:400] + "…"


def main():
    """Writes or compares."""
    write_or_compare(PAGE, page(), "experiments and tests say", "check-faults")


if __name__ == "__main__":
    main()
