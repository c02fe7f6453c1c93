# main.exs - runs the rows, prints the table, writes build/bench.json.  Started by test/bench/run.

for file <- ~w(kit.exs versions.exs in_vm_sink.exs append.exs version_rows.exs rows.exs), do: Code.require_file(file, __DIR__)

defmodule Bench.Main do
  import Bench.Kit, only: [median: 1, root: 0]
  alias Bench.InVmSink

  def run(names) do
    chosen = for {name, fun} <- Bench.Rows.groups(), names == [] or Atom.to_string(name) in names, do: {name, fun}
    if chosen == [], do: raise("no such row; there are: #{Enum.map_join(Bench.Rows.groups(), " ", &elem(&1, 0))}")
    header()
    t0 = System.monotonic_time(:second)

    # each group in a process of its own: nobody pays for another's garbage
    rows =
      for {name, fun} <- chosen, row <- fun |> Task.async() |> Task.await(:infinity) do
        print(row)
        Map.merge(row, %{group: name, held_back_by: if(row.met, do: "", else: Bench.Rows.held_back(row.row) || "")})
      end

    write(rows)
    missed = Enum.count(rows, &(not &1.met))
    IO.puts("\n#{length(rows) - missed} of #{length(rows)} targets met, #{System.monotonic_time(:second) - t0} s; build/bench.json")
  end

  defp header do
    IO.puts("""
    median [lowest .. highest] of the repeats; ratio = value / against, of medians.
    Durability as in production: the same defaults, a synced commit before any `kept`.
    machine: #{System.schedulers_online()} cores, #{uname()}, OTP #{System.otp_release()}, load #{load()}
    """)
  end

  defp uname, do: :os.version() |> Tuple.to_list() |> Enum.join(".") |> then(&"Linux #{&1}")
  defp load, do: File.read!("/proc/loadavg") |> String.split() |> hd()

  defp print(r) do
    IO.puts("#{r.row}")
    sign = if r.direction == :least, do: ">=", else: "<="
    against = if r.against, do: "  against #{span(r.against)} #{r.against_name}\n", else: ""
    verdict = if r.met, do: "met", else: "MISSED"
    note = if r.note == "", do: "", else: "  (#{r.note})"
    IO.puts("  #{span(r.value)}\n#{against}  ratio #{short(r.ratio)}, target #{sign} #{short(r.target)}: #{verdict}#{note}")
    why = if r.met, do: nil, else: Bench.Rows.held_back(r.row)
    if why, do: IO.puts("  held back by: #{why}; docs/BENCH.md")
  end

  defp span([one]), do: short(one)
  defp span(list), do: "#{short(median(list))} [#{short(Enum.min(list))} .. #{short(Enum.max(list))}]"

  defp short(n) when is_integer(n), do: Integer.to_string(n)
  defp short(n) when n >= 100, do: Integer.to_string(round(n))
  defp short(n) when n >= 1, do: :erlang.float_to_binary(n / 1, decimals: 2)
  defp short(n), do: :erlang.float_to_binary(n / 1, decimals: 4)

  defp write(rows) do
    out = %{date: DateTime.utc_now(), machine: uname(), cores: System.schedulers_online(), load: load(), rows: rows}
    path = Path.join([root(), "build", "bench.json"])
    File.write!(path, [InVmSink.json(out), "\n"])
  end
end

:logger.set_primary_config(:level, :error)
Bench.Main.run(System.argv())
