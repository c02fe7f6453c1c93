defmodule ConvexSidecar.TelemetryMetricsTest do
  # The dependency is a user's: here stands what the list is made with.
  use ExUnit.Case, async: false

  alias OpenAgentsRuntime.Convex.Telemetry, as: Ours

  test "without Telemetry.Metrics it is said what to add; with it, each event is measured" do
    assert_raise ArgumentError, ~r/telemetry_metrics/, &Ours.metrics/0

    Code.compile_string("""
    defmodule Telemetry.Metrics do
      for f <- [:counter, :sum, :distribution], do: def(unquote(f)(name, options), do: {unquote(f), name, options})
    end
    """)

    list = Ours.metrics()
    events = for {_, name, _} <- list, uniq: true, do: name |> String.split(".") |> Enum.at(3)
    assert Enum.sort(events) == ~w(drift replay state write write_failure)

    assert Enum.all?(list, fn {_, name, o} ->
             name =~ ~r/^openagents_runtime\.convex\.projection\./ and o[:tags] -- [:document_id] == o[:tags]
           end)
  after
    :code.purge(Telemetry.Metrics)
    :code.delete(Telemetry.Metrics)
  end
end
