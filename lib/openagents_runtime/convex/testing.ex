defmodule OpenAgentsRuntime.Convex.Testing do
  @moduledoc """
  Projections in tests: no program, no distribution, no epmd, no process that reads the database by itself.

      # config/test.exs
      config :openagents_runtime, convex_sidecar: [testing: :manual]

      # a test
      import OpenAgentsRuntime.Convex.Testing

      test "a finished run is projected" do
        {:ok, run} = MyApp.Runs.finish("run_1")
        assert_projected(:run_summary, run.run_id)
      end

  | `testing:` | the asynchronous form | the call |
  | --- | --- | --- |
  | `:disabled` (default) | as in production | as in production |
  | `:manual` | noted, and done by `run_projections/0` | done in the calling process |
  | `:inline` | done at once, in the calling process | the same |

  *Done* means: the calling process reads row and events through the event log (so in its sandbox), and builds the
  document. It is skipped if that test has already projected the same one, and kept for the test instead of being
  sent. A sink of your own (`convex_projection_sink`, or `sink:` of a call) is called with it. Telemetry is unchanged.
  In `:manual` and `:inline`, `OpenAgentsRuntime.Convex.Sidecar` starts nothing (its child is `:ignore`).

  A projection belongs to the process that asked for it, to its `$callers` (so to the test, from a `Task`), to the
  owners that `allow/2` it, and to the process that called `share/1`; it is forgotten when its owner ends. So tests
  may be `async: true`.
  """

  alias OpenAgentsRuntime.Convex.{Projector, Summary}
  alias OpenAgentsRuntime.Convex.Testing.Store

  @type mode :: :disabled | :manual | :inline
  @typedoc "`summary` and `write` are nil while the asynchronous form is only noted; `id` is `:all` of `project_all_async/2`."
  @type entry :: %{
          kind: atom(),
          id: String.t() | :all,
          document_id: String.t() | nil,
          form: :call | :async,
          write: String.t() | nil,
          reason: String.t() | nil,
          seq: integer() | nil,
          summary: map() | nil,
          sink: module() | nil,
          opts: keyword()
        }

  @modes [:disabled, :manual, :inline]

  # ---- for tests

  @doc """
  Assert that the entity was projected, or (`:manual`) noted; returns its newest entry. `fields` must be in its
  document: `assert_projected(:run_summary, "run_1", %{"status" => "succeeded"})`.
  """
  @spec assert_projected(atom(), String.t(), map() | keyword()) :: entry()
  def assert_projected(kind, id, fields \\ %{}) do
    of_it = all_projected(kind: kind, id: id)
    fields = Map.new(fields, fn {key, value} -> {to_string(key), value} end)

    Enum.find(Enum.reverse(of_it), &has?(&1, fields)) ||
      fail("expected #{kind} #{inspect(id)} to be projected#{with_fields(fields)}", of_it)
  end

  @doc "Refute that the entity was projected or noted (with these `fields`)."
  @spec refute_projected(atom(), String.t(), map() | keyword()) :: :ok
  def refute_projected(kind, id, fields \\ %{}) do
    fields = Map.new(fields, fn {key, value} -> {to_string(key), value} end)

    case Enum.filter(all_projected(kind: kind, id: id), &has?(&1, fields)) do
      [] ->
        :ok

      of_it ->
        fail("expected #{kind} #{inspect(id)} not to be projected#{with_fields(fields)}", of_it)
    end
  end

  @doc "All projections of this process's test, oldest first; `kind:` and `id:` select some."
  @spec all_projected(keyword()) :: [entry()]
  def all_projected(only \\ []) do
    for entry <- Store.entries(self()),
        Enum.all?(only, fn {key, value} -> Map.fetch!(entry, key) == value end),
        do: entry
  end

  @doc """
  Do what the asynchronous form has noted (`:manual`), each entity once, in the calling process; returns how
  many were done, and what failed.
  """
  @spec run_projections() :: %{done: non_neg_integer(), failed: [{atom(), String.t(), term()}]}
  def run_projections do
    noted = self() |> Store.take_noted() |> Enum.map(&{&1.kind, &1.id, &1.opts}) |> Enum.uniq()
    entities = noted |> Enum.flat_map(&entities/1) |> Enum.uniq()

    failed =
      for {kind, id, opts} <- entities,
          {:error, reason} <- [Projector.project(kind, id, [async: false] ++ opts)],
          do: {kind, id, reason}

    %{done: length(entities) - length(failed), failed: failed}
  end

  defp entities({kind, :all, opts}) do
    ids =
      OpenAgentsRuntime.Convex.EventLog.module!(opts)
      |> OpenAgentsRuntime.Convex.EventLog.stream_ids(kind)

    for id <- ids, do: {kind, id, opts}
  end

  defp entities(one), do: [one]

  @doc "What `pid` (or a registered name) projects also belongs to `owner`, as long as both live."
  @spec allow(pid(), pid() | atom()) :: :ok
  def allow(owner \\ self(), pid)
  def allow(owner, name) when is_atom(name), do: allow(owner, Process.whereis(name))
  def allow(owner, pid) when is_pid(owner) and is_pid(pid), do: Store.allow(owner, pid)

  @doc """
  What any process projects also belongs to `owner`, until that ends: for tests that are not async. As a setup:
  `setup do: OpenAgentsRuntime.Convex.Testing.share(self())`.
  """
  @spec share(pid()) :: :ok
  def share(owner \\ self()), do: Store.share(owner)

  @doc "Run `fun` with another mode in this process (and its tasks); `testing:` must already be `:manual` or `:inline`."
  @spec with_mode(:manual | :inline, (() -> result)) :: result when result: term()
  def with_mode(mode, fun) when mode in [:manual, :inline] do
    before = Process.put(__MODULE__, mode)

    try do
      fun.()
    after
      if before, do: Process.put(__MODULE__, before), else: Process.delete(__MODULE__)
    end
  end

  defp has?(_entry, fields) when fields == %{}, do: true
  defp has?(%{summary: nil}, _fields), do: false

  defp has?(%{summary: summary}, fields),
    do: Enum.all?(fields, fn {key, value} -> summary[key] == value end)

  defp with_fields(fields) when fields == %{}, do: ""
  defp with_fields(fields), do: " with #{inspect(fields)}"

  @spec fail(String.t(), [entry()]) :: no_return()
  defp fail(what, of_it) do
    others = all_projected() -- of_it
    text = "#{what}\n\nof it:\n#{listed(of_it)}\nothers of this test:\n#{listed(others)}"
    raise apply(ExUnit.AssertionError, :exception, [[message: text]])
  end

  defp listed([]), do: "  none\n"

  defp listed(entries) do
    Enum.map_join(entries, fn e ->
      "  #{e.kind} #{inspect(e.id)} #{e.write || "noted"}#{e.reason && " (#{e.reason})"} #{inspect(e.summary)}\n"
    end)
  end

  # ---- for the library

  @doc false
  @spec configured() :: {:ok, mode()} | {:error, {:bad_option, :testing, String.t()}}
  def configured do
    case Application.get_env(:openagents_runtime, :convex_sidecar) || [] do
      %{testing: mode} -> check(mode)
      options when is_list(options) -> check(Keyword.get(options, :testing, :disabled))
      _ -> {:ok, :disabled}
    end
  end

  @doc false
  def check(mode) when mode in @modes, do: {:ok, mode}

  def check(other),
    do:
      {:error,
       {:bad_option, :testing,
        "testing must be :manual, :inline or :disabled, is #{inspect(other)}"}}

  @doc false
  @spec mode() :: mode()
  def mode do
    case configured() do
      {:ok, :disabled} -> :disabled
      {:ok, mode} -> own_mode(chain()) || mode
      {:error, _} -> :disabled
    end
  end

  defp own_mode(pids) do
    Enum.find_value(pids, fn pid ->
      dictionary = if pid == self(), do: Process.get(), else: dictionary(pid)
      List.keyfind(dictionary, __MODULE__, 0, {nil, nil}) |> elem(1)
    end)
  end

  defp dictionary(pid) do
    case node(pid) == node() && Process.info(pid, :dictionary) do
      {:dictionary, dictionary} -> dictionary
      _ -> []
    end
  end

  @doc false
  def chain, do: Enum.uniq([self() | Enum.filter(Process.get(:"$callers") || [], &is_pid/1)])

  @doc false
  def note(kind, id, opts), do: Store.record(chain(), entry(kind, id, :async, opts))

  @doc false
  def projected(kind, id, sink, summary, checkpoint, decision, form, opts) do
    write = if decision.write?, do: "applied", else: "skipped"

    Store.record(
      chain(),
      Map.merge(entry(kind, id, form, opts), %{
        write: write,
        reason: decision.reason,
        seq: checkpoint.seq,
        summary: summary,
        sink: sink,
        checkpoint: checkpoint
      })
    )
  end

  # The document as this test has last written it.
  @doc false
  def find({sink, _sink_opts}, document_id) do
    chain()
    |> Enum.flat_map(&Store.entries/1)
    |> Enum.filter(&(&1.document_id == document_id and &1.sink == sink and &1.write == "applied"))
    |> Enum.max_by(& &1.number, fn -> %{checkpoint: nil} end)
    |> Map.fetch!(:checkpoint)
  end

  defp entry(kind, id, form, opts) do
    document_id = if is_binary(id), do: Summary.document_id(kind, id)

    %{kind: kind, id: id, document_id: document_id, form: form, opts: opts, write: nil, reason: nil}
    |> Map.merge(%{seq: nil, summary: nil, sink: nil, checkpoint: nil})
  end
end

defmodule OpenAgentsRuntime.Convex.Testing.Store do
  @moduledoc false
  # Projections by owner. Started when first needed, under the application's supervisor; an
  # owner's entries are removed when it ends.
  use GenServer

  # The newest entries are kept of a process that never ends (an application's own).
  @max_entries 1000

  def record(owners, entry), do: call({:record, owners, entry})
  def entries(owner), do: call({:entries, owner})
  def take_noted(owner), do: call({:take_noted, owner})
  def allow(owner, pid), do: call({:allow, owner, pid})
  def share(owner), do: call({:share, owner})

  defp call(request) do
    GenServer.call(server(), request, :infinity)
  end

  defp server do
    with nil <- Process.whereis(__MODULE__) do
      case Supervisor.start_child(OpenAgentsRuntime.Convex.Supervisor, __MODULE__) do
        {:ok, pid} -> pid
        {:error, {:already_started, pid}} -> pid
      end
    end
  end

  def start_link(_opts), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @impl true
  def init(nil),
    do:
      {:ok,
       %{entries: %{}, noted_done: %{}, allowed: %{}, shared: nil, known: MapSet.new(), number: 0}}

  @impl true
  def handle_call({:record, pids, entry}, _from, state) do
    allowed = Enum.flat_map(pids, &Map.get(state.allowed, &1, []))
    owners = Enum.uniq(pids ++ allowed ++ List.wrap(state.shared))
    entry = Map.put(entry, :number, state.number)
    state = Enum.reduce(owners, %{state | number: state.number + 1}, &add(&1, entry, &2))
    {:reply, :ok, state}
  end

  def handle_call({:entries, owner}, _from, state),
    do: {:reply, state.entries |> Map.get(owner, []) |> Enum.reverse(), state}

  # Any owner may take an entry, once.
  def handle_call({:take_noted, owner}, _from, state) do
    noted =
      for e <- Map.get(state.entries, owner, []),
          e.write == nil,
          not is_map_key(state.noted_done, e.number),
          do: e

    done = Map.new(noted, &{&1.number, true})
    {:reply, Enum.reverse(noted), %{state | noted_done: Map.merge(state.noted_done, done)}}
  end

  def handle_call({:allow, owner, pid}, _from, state) do
    state = state |> know(owner) |> know(pid)

    {:reply, :ok,
     %{state | allowed: Map.update(state.allowed, pid, [owner], &Enum.uniq([owner | &1]))}}
  end

  def handle_call({:share, owner}, _from, state),
    do: {:reply, :ok, %{know(state, owner) | shared: owner}}

  @impl true
  def handle_info({:DOWN, _ref, :process, pid, _why}, state) do
    allowed =
      for {allowed, owners} <- state.allowed,
          allowed != pid,
          (left = owners -- [pid]) != [],
          into: %{},
          do: {allowed, left}

    shared = if state.shared == pid, do: nil, else: state.shared
    entries = Map.delete(state.entries, pid)

    {:noreply,
     %{
       state
       | entries: entries,
         allowed: allowed,
         shared: shared,
         known: MapSet.delete(state.known, pid)
     }}
  end

  defp add(owner, entry, state) do
    state = know(state, owner)

    %{
      state
      | entries: Map.update(state.entries, owner, [entry], &Enum.take([entry | &1], @max_entries))
    }
  end

  # Monitoring a process that is already dead sends 'DOWN' at once, which removes its entries.
  defp know(state, pid) do
    if pid not in state.known, do: Process.monitor(pid)
    %{state | known: MapSet.put(state.known, pid)}
  end
end
