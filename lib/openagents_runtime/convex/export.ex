defmodule OpenAgentsRuntime.Convex.Export do
  @moduledoc """
  The event history as JSON lines, for `convex_sidecar rebuild --from FILE`: documents can then be
  rebuilt without the VM. The format is in docs/REBUILD.md.

  Each entity is a line, `{"events":[...],"id":...,"kind":...,"row":{...}}`. Events beyond the first
  5,000 follow in lines of their own, `{"events":[...],"id":...,"kind":...}`, and every line that is
  continued has `"more":true`. An event is its `seq`, `event_type` and `inserted_at`; a row has the
  columns that its document shows. Only one such page is held in memory.

  The log may grow meanwhile. What is appended later is not in the file, and a rebuild from the file
  does not overwrite anything newer.
  """

  alias OpenAgentsRuntime.Convex.{BigNumbers, CanonicalJson, EventLog, Kinds, Summary}

  @page 5000

  @doc "The lines, lazily. Options: `:event_log`, and `:kinds` (all)."
  @spec lines(keyword()) :: Enumerable.t()
  def lines(opts \\ []), do: opts |> pages() |> Stream.map(fn {_part, line} -> line end)

  @doc """
  Write the lines to `device`, and return the number of entities and lines. `:progress` is called
  with the same after every entity.
  """
  @spec write(IO.device(), keyword()) ::
          {:ok, %{entities: non_neg_integer(), lines: non_neg_integer()}}
  def write(device, opts \\ []) do
    progress = Keyword.get(opts, :progress, fn _counts -> :ok end)

    counts =
      opts
      |> pages()
      |> Enum.reduce(%{entities: 0, lines: 0}, fn {part, line}, counts ->
        :ok = IO.binwrite(device, [line, ?\n])
        counts = %{counts | lines: counts.lines + 1}
        counts = if part == :first, do: %{counts | entities: counts.entities + 1}, else: counts
        if part == :first, do: progress.(counts)
        counts
      end)

    {:ok, counts}
  end

  defp pages(opts) do
    log = EventLog.module!(opts)

    opts
    |> Keyword.get_lazy(:kinds, &Kinds.all/0)
    |> Stream.flat_map(fn kind ->
      log |> EventLog.stream_ids(kind) |> Stream.flat_map(&pages_of(log, kind, &1))
    end)
  end

  defp pages_of(log, kind, id) do
    Stream.unfold({:first, 0}, fn
      :done -> nil
      {part, after_seq} -> page(part, log, kind, id, log.events_after(kind, id, after_seq, @page))
    end)
  end

  # Reads the row after its events, as the projector does; an entity deleted meanwhile has none.
  defp page(:first, log, kind, id, events) do
    case log.row(kind, id) do
      {:ok, row} ->
        line(:first, kind, id, events, %{"row" => BigNumbers.sendable(Summary.columns(kind, row))})

      :error ->
        nil
    end
  end

  defp page(:more, _log, kind, id, events), do: line(:more, kind, id, events, %{})

  # A full page is followed by another one, even if that is empty.
  defp line(part, kind, id, events, rest) do
    more? = length(events) == @page
    rest = if more?, do: Map.put(rest, "more", true), else: rest
    line = Map.merge(rest, %{"kind" => kind, "id" => id, "events" => Enum.map(events, &event/1)})

    {{part, encode(line)},
     if(more?, do: {:more, EventLog.value(List.last(events), :seq)}, else: :done)}
  end

  defp encode(%{"kind" => kind, "id" => id} = line) do
    CanonicalJson.encode(line)
  rescue
    e in ArgumentError -> reraise ArgumentError, "#{kind} #{id}: #{e.message}", __STACKTRACE__
  end

  defp event(event) do
    for key <- [:seq, :event_type, :inserted_at], into: %{}, do: {key, EventLog.value(event, key)}
  end
end
