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

  @doc "Event number `seq` of the entity; the same whenever it is asked for."
  def event({_kind, id}, seq) do
    x = :erlang.phash2({id, seq})
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
  def document({kind, id} = entity, n, seq) do
    latest = if seq > 0, do: event(entity, seq)
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
  def bytes(entity, n, seq, projected_at) do
    {document, hash} = document(entity, n, seq)

    CanonicalJson.encode(Map.merge(document, %{"projected_at" => projected_at, "projection_hash" => hash}))
  end
end

defmodule Torture.Log do
  @moduledoc """
  The event log behind the asynchronous form: how many events each entity has, in a public table.
  Its rows never change, so each event makes one version, whenever the conveyor reads them.
  """
  @behaviour :convex_sidecar_source

  alias Torture.Documents

  def new, do: :ets.new(__MODULE__, [:ordered_set, :public, :named_table, write_concurrency: true])
  def source, do: {__MODULE__, nil}

  @doc "Append an event; its number."
  def append(entity), do: :ets.update_counter(__MODULE__, entity, 1, {entity, 0})

  @doc "All entities with their last event."
  def all, do: :ets.tab2list(__MODULE__)

  @doc "What must stand of them, as `Torture.Oracle.compare/2` takes it."
  def expected do
    for {entity, seq} <- all(), into: %{} do
      {Documents.document_id(entity), fn at -> Documents.bytes(entity, 0, seq, at) end}
    end
  end

  @impl true
  def row(kind, id, _arg) do
    case :ets.lookup(__MODULE__, {kind, id}) do
      [{entity, seq}] -> {:ok, Map.put(Documents.row(entity, 0), :latest_seq, seq)}
      [] -> :error
    end
  end

  @impl true
  def events_after(kind, id, after_seq, limit, _arg) do
    case :ets.lookup(__MODULE__, {kind, id}) do
      [{entity, seq}] when seq > after_seq ->
        Documents.events(entity, (after_seq + 1)..min(seq, after_seq + limit))

      _ ->
        []
    end
  end

  @impl true
  def ids(kind, last, limit, _arg) do
    all = for {{^kind, id}, _} <- all(), last == nil or id > last, do: id
    Enum.take(all, limit)
  end
end
