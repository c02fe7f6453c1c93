defmodule ConvexSidecar.MetricsTableTest do
  @moduledoc """
  Which test asserts the value of which metric of c_src/ground/metrics.def: one that fails when the metric is dropped,
  or when another is counted in its place. A metric without a line here, or a line whose test speaks of it no more, fails.
  """
  use ExUnit.Case, async: true

  @model {"test/unit/outbox/outbox_model_test.c", "random_work_leaves_what_the_model_says"}
  @store {"test/unit/outbox/outbox_test.c", "the_store_s_own_metrics"}
  @calls {"test/unit/delivery/dispatch_test.c", "calls_and_what_became_of_them_are_counted"}
  @shown {"test/unit/delivery/dispatch_test.c", "what_is_under_way_and_allowed_is_shown"}
  @states {"test/unit/delivery/dispatch_test.c", "a_kind_that_is_refused_holds_up_no_other"}
  @dist {"test/unit/dist/dist_test.c", "messages_and_their_bytes_are_counted"}
  @times {"test/unit/outbox/confirmed_test.c", "what_is_committed_is_counted"}

  @asserted %{
    "PEERS" => {"test/unit/dist/dist_test.c", "a_newer_connection_of_the_same_node_replaces_the_older"},
    "HANDSHAKES_FAILED" => {"test/unit/dist/dist_test.c", "a_wrong_cookie_and_a_stranger_are_counted"},
    "MESSAGES" => @dist,
    "MESSAGES_UNKNOWN" => {"test/unit/dist/dist_test.c", "a_tag_that_no_gen_makes_is_not_kept"},
    "RECEIVED_BYTES" => @dist,
    "REQUESTS" => {"test/protocol_test.exs", "has at most 10,000 requests"},
    "REFUSED" => {"test/protocol_test.exs", "has at most 10,000 requests"},
    "BUSY" => {"test/protocol_test.exs", "is refused whole while too many refusals wait"},
    "KEPT" => @model,
    "COALESCED" => @model,
    "SKIPPED" => @model,
    "DRIFT" => @model,
    "DOUBTFUL" => {"test/unit/outbox/outbox_test.c", "a_doubt_holds_for_a_range_of_marks"},
    "DOUBTFUL_UNLOGGED" => {"test/unit/outbox/outbox_test.c", "a_doubt_holds_for_a_range_of_marks"},
    "DESTINATION_CHANGES" => {"test/otherside_test.exs", "metric(c, :destination_changes_total) == 1"},
    "PENDING" => @model,
    "PENDING_BYTES" => @model,
    "OLDEST_PENDING_SECONDS" => @store,
    "STORE_LIMIT_BYTES" => @store,
    "DEAD_BYTES" => @model,
    "CHECKPOINTS" => @model,
    "DEAD" => @model,
    "COMMITS" => @store,
    "STORE_FAILURES" => {"test/unit/outbox/outbox_test.c", "a_full_disk_refuses_with_the_reason_and_passes"},
    "RECORDS_DAMAGED" => {"test/unit/outbox/outbox_test.c", "a_damaged_checkpoint_is_moved_and_made_again_by_a_put"},
    "QUARANTINED" => {"test/unit/outbox/outbox_test.c", "a_damaged_checkpoint_is_moved_and_made_again_by_a_put"},
    "STORE_OK" => {"test/unit/outbox/outbox_test.c", "a_full_disk_refuses_with_the_reason_and_passes"},
    "IN_FLIGHT" => @shown,
    "CONCURRENCY_LIMIT" => @shown,
    "CALLS" => @calls,
    "DELIVERED" => @calls,
    "RETRIED" => @calls,
    "REFUSED_DOCUMENTS" => @model,
    "STOPPED" => {"test/unit/delivery/dispatch_test.c", "delivery_that_is_held_sends_nothing_until_it_is_adopted"},
    "PAUSED" => @shown,
    "LAST_CONFIRMED" => @times,
    "CONFIRMED_EARLY" => @times,
    "AUDIT_CHECKED" => {"test/audit_test.exs", "one audit at a time; status, cancel, and where to go on"},
    "AUDIT_FINDINGS" => {"test/audit_test.exs", "one audit at a time; status, cancel, and where to go on"},
    "CALL_TIME" => @calls,
    "COMMIT_TIME" => @store,
    "KEPT_TO_CONFIRMED" => @times,
    "APPEND_TO_CONFIRMED" => @times,
    "PROJECTIONS" => {"test/protocol_test.exs", "what was decided is counted by kind and reason"},
    "DEAD_LETTERS" => @model,
    "VERDICTS" => @calls,
    "ENDPOINT_STATE" => @states,
    "KIND_STATE" => @states,
    "KIND_FAILING" => @states
  }

  @def_file "c_src/ground/metrics.def"

  defp metrics do
    for [_, id, name] <- Regex.scan(~r/^(?:METRIC|HISTOGRAM|LABELLED)\(([A-Z_]+), "(\w+)"/m, File.read!(@def_file)), do: {id, name}
  end

  test "each metric has its test" do
    assert Enum.sort(Map.keys(@asserted)) == Enum.sort(for {id, _} <- metrics(), do: id)
  end

  test "each of those tests is there, and its file asks for the metric's value" do
    for {id, name} <- metrics(), {file, title} = @asserted[id] do
      text = File.read!(file)
      assert text =~ title, "#{file} has no #{inspect(title)}"
      assert text =~ ~r/(METRIC|HISTOGRAM|LABELLED)_#{id}\b|\b#{name}\b/, "#{file} does not ask for #{name}"
    end
  end
end
