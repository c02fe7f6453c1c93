defmodule Torture.Documents do
  @moduledoc """
  The truth of the torture: what each version of each document must be, as a pure function of
  (entity, version number, last event).

  Every version has a number of its own in its row, so its hash names it: whatever is found in Convex,
  the oracle knows which version that is, or that it was never sent.
  """

  alias OpenAgentsRuntime.Convex.{CanonicalJson, Summary}

  @t0 ~U[2026-02-19 20:00:00.000000Z]
  @version "convex_summary_v1"

  @type entity :: {kind :: atom, id :: String.t()}

  @spec document_id(entity) :: String.t()
  def document_id({kind, id}), do: Summary.document_id(kind, id)

  @doc "Event number `seq` of the entity; the same whenever it is asked for, unless it was rolled back and written anew (`salt`)."
  def event({_kind, id}, seq, salt \\ 0) do
    x = :erlang.phash2({id, seq, salt})
    %{seq: seq, event_type: "run.e#{rem(x, 7)}", inserted_at: DateTime.add(@t0, x, :microsecond)}
  end

  def events(entity, range), do: Enum.map(range, &event(entity, &1))

  @doc "The row of version `n`: some short, some of a few KB, with what JSON finds hard."
  def row({:run_summary, id}, n) do
    x = :erlang.phash2({id, n})

    %{
      thread_id: "t#{rem(x, 50)}",
      status: "version #{n}",
      owner_user_id: 9_007_199_254_740_990 + rem(x, 5),
      terminal_reason_class: if(rem(x, 3) == 0, do: "naïve \"€\" 😂\u0001"),
      terminal_reason: String.duplicate("#{x} ", rem(x, 40) * rem(x, 10)),
      updated_at: DateTime.add(@t0, n, :millisecond)
    }
  end

  def row({:codex_worker_summary, id}, n) do
    x = :erlang.phash2({id, n})

    %{
      status: "running",
      owner_guest_scope: "guest #{rem(x, 9)}",
      adapter: :local,
      metadata: %{
        "n" => n,
        "f" => x / 7,
        "deep" => %{"list" => Enum.to_list(0..rem(x, 9)), :atom => :an_atom}
      },
      started_at: @t0,
      last_heartbeat_at: NaiveDateTime.add(~N[2026-02-19 20:00:00.000001], n, :millisecond),
      updated_at: @t0
    }
  end

  @doc "The document of row `n` with `seq` events, but for projected_at; and its hash."
  def document({kind, id} = entity, n, seq, salt \\ 0) do
    latest = if seq > 0, do: event(entity, seq, salt)
    id_key = if kind == :run_summary, do: :run_id, else: :worker_id
    row = Map.put(row(entity, n), id_key, id)

    document =
      Summary.summary(kind, row, %{count: seq, latest: latest},
        projection_version: @version,
        now: @t0
      )

    {document, CanonicalJson.hash(document)}
  end

  @doc "The bytes that must stand in Convex, given the projected_at that stands there."
  def bytes(entity, n, seq, projected_at, salt \\ 0) do
    {document, hash} = document(entity, n, seq, salt)

    CanonicalJson.encode(Map.merge(document, %{"projected_at" => projected_at, "projection_hash" => hash}))
  end
end

defmodule Torture.Log do
  @moduledoc """
  The event log behind the asynchronous form, in public tables.  Its rows never change, so each event makes one version, whenever
  the conveyor reads them.  Its last events may be rolled back, and others written in their place.
  """
  @behaviour :convex_sidecar_source
  @behaviour :convex_sidecar_sweeper

  alias Torture.{Documents, Oracle}

  @events __MODULE__.Events

  def new do
    :ets.new(@events, [:set, :public, :named_table, write_concurrency: true])
    # {entity, events, changes}: a change is an event more, or a rollback.
    :ets.new(__MODULE__, [:ordered_set, :public, :named_table, write_concurrency: true])
  end

  def source, do: {__MODULE__, nil}

  # Of a Convex that forgot, all of it is projected once more.
  @impl :convex_sidecar_sweeper
  def sources(_name), do: for(kind <- [:run_summary, :codex_worker_summary], do: {kind, source()})

  @doc "Append an event, which the oracle knows before anybody can read it."
  def append(entity) do
    {seq, n} = state(entity)
    :ets.insert(@events, {{entity, seq + 1}, n + 1})
    change(entity, seq + 1, n + 1)
  end

  @doc "Take back the last event, or two: they never were."
  def roll_back(entity, count) do
    {seq, n} = state(entity)
    if seq > count, do: change(entity, seq - count, n + 1)
  end

  @doc "Its document is going to be cleared."
  def cleared(entity) do
    {_, n} = state(entity)
    Oracle.cleared(Documents.document_id(entity), n)
    :ets.insert(@events, {{entity, :cleared}, n})
  end

  @doc "Whether it was, and nothing came after that."
  def cleared?(entity) do
    {_, n} = state(entity)
    :ets.lookup(@events, {entity, :cleared}) == [{{entity, :cleared}, n}]
  end

  # The version this makes has the number of the change.
  defp change(entity, seq, n) do
    {_, hash} = Documents.document(entity, 0, seq, salt(entity, seq))
    Oracle.sent(Documents.document_id(entity), hash, n)
    :ets.insert(__MODULE__, {entity, seq, n})
    seq
  end

  defp state(entity) do
    case :ets.lookup(__MODULE__, entity) do
      [{_, seq, n}] -> {seq, n}
      [] -> {0, 0}
    end
  end

  defp salt(entity, seq), do: :ets.lookup_element(@events, {entity, seq}, 2)

  @doc "All entities that have events."
  def all, do: for({entity, _, _} <- :ets.tab2list(__MODULE__), do: entity)

  @doc "What must stand of them, as `Torture.Oracle.compare/2` takes it."
  def expected do
    for entity <- all(), {seq, _} = state(entity), salt = salt(entity, seq), into: %{} do
      {Documents.document_id(entity), fn at -> Documents.bytes(entity, 0, seq, at, salt) end}
    end
  end

  @impl true
  def row(kind, id, _arg) do
    case state({kind, id}) do
      {0, _} -> :error
      {seq, _} -> {:ok, Map.put(Documents.row({kind, id}, 0), :latest_seq, seq)}
    end
  end

  @impl true
  def events_after(kind, id, after_seq, limit, _arg) do
    {seq, _} = state({kind, id})
    for s <- (after_seq + 1)..min(seq, after_seq + limit)//1, do: Documents.event({kind, id}, s, salt({kind, id}, s))
  end

  @impl true
  def ids(kind, last, limit, _arg) do
    all = for {^kind, id} <- all(), last == nil or id > last, do: id
    Enum.take(all, limit)
  end
end
