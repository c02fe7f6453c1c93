defmodule Mix.Tasks.Runtime.Convex.Export do
  @shortdoc "Writes the runtime's event history as JSON lines"
  @moduledoc """
  Writes the runtime's event history as JSON lines, from which `convex_sidecar rebuild --from FILE`
  rebuilds all documents without the VM.

      mix runtime.convex.export --to history.jsonl
      mix runtime.convex.export --to history.jsonl --kind run_summary
      mix runtime.convex.export --to - | convex_sidecar rebuild --from -

  If the application already runs on this machine, its VM does the export, as with `mix runtime.convex.reproject`;
  `--node NAME`, `--cookie COOKIE` and `--here` mean the same.

  FILE appears whole or not at all. With `-` the lines go to standard output, so compile first (`mix
  compile`). The number of entities goes to standard error.
  """
  use Mix.Task

  alias OpenAgentsRuntime.Convex.{Export, Kinds, RunningNode}

  @switches RunningNode.switches() ++ [to: :string, kind: :keep]
  @step 10_000

  @impl Mix.Task
  def run(args) do
    Mix.Task.run("app.config")
    {to, kinds, where} = parse(args)
    node = Mix.Tasks.Runtime.Convex.Reproject.at(where)
    {:ok, counts} = write(to, node, kinds: kinds)
    say("exported #{counts.entities} entities in #{counts.lines} lines")
  end

  # Checked before the application is started.
  defp parse(args) do
    {opts, rest, invalid} = OptionParser.parse(args, strict: @switches)
    names = Keyword.get_values(opts, :kind)
    unknown = Enum.reject(names, &Kinds.find/1)

    cond do
      rest != [] or invalid != [] -> Mix.raise("not understood: #{inspect(rest ++ invalid)}")
      opts[:to] in [nil, ""] -> Mix.raise("provide --to <file>, or --to - for standard output")
      unknown != [] -> Mix.raise("no kind of the event log: #{Enum.join(unknown, ", ")}")
      names == [] -> {opts[:to], Kinds.all(), opts}
      true -> {opts[:to], Enum.filter(Kinds.all(), &(Atom.to_string(&1) in names)), opts}
    end
  end

  # With latin1 every byte is written unchanged, whatever the locale.
  defp write("-", node, opts) do
    _ = :io.setopts(:standard_io, encoding: :latin1)
    written(node, Process.group_leader(), opts)
  end

  defp write(path, nil, opts), do: write_file(path, [:raw, :delayed_write], &written(nil, &1, opts))
  # Opened by a process (not raw), so that another VM can write to it.
  defp write(path, node, opts), do: write_file(path, [:delayed_write], &written(node, &1, opts))

  defp written(nil, device, opts), do: Export.write(device, [progress: &show/1] ++ opts)
  defp written(node, device, opts), do: RunningNode.call(node, Export, :write, [device, opts])

  defp write_file(path, modes, fun) do
    beside = path <> ".new"

    try do
      answer = File.open!(beside, [:write | modes], fun)
      File.rename!(beside, path)
      answer
    after
      File.rm(beside)
    end
  end

  defp show(%{entities: n}), do: if(rem(n, @step) == 0, do: say("#{n} entities"))

  defp say(text), do: IO.puts(:stderr, text)
end
