defmodule OpenAgentsRuntime.Convex.Sidecar do
  @moduledoc """
  The sidecar in the runtime's supervision tree, configured by the runtime's own keys.

      children = [OpenAgentsRuntime.Convex.Sidecar, ...]

  | key of `:openagents_runtime` | becomes |
  | --- | --- |
  | `convex_projection_sink` | `NoopSink` or none: `[sink] type = noop` (none beside a `[sink] base_url` in `config`: `type = http`; beside a key alone: an error); otherwise `type = http` (a sink of your own is called in the VM, and may call `HttpSink`) |
  | `convex_http_sink`: `base_url`, `admin_key`, `request_timeout_ms` | the same keys of `[sink]` |
  | ... `KIND_mutation_path` (`run_summary_mutation_path`, `codex_worker_summary_mutation_path`) | `[kind.KIND] mutation`; one that differs from the kind's default also empties `[sink] batch_mutation`, so that it is called |
  | `convex_kinds` | sections `[kind.KIND]`: kinds of your own (`OpenAgentsRuntime.Convex.Kinds`) |
  | `convex_projection_version` | `[projection] version` |
  | `convex_sidecar` | the options below; sections in `config` override those above |
  | `convex_sidecars` | see `OpenAgentsRuntime.Convex.Sidecars`: several of them |

  ## Options

  The options are those of `:convex_sidecar.start_link/1`, and `catch_up` (`true` or `false`). The configuration may
  also have `testing` (`:manual`, `:inline` or `:disabled`); with the first two, nothing starts (`OpenAgentsRuntime.Convex.Testing`).

  #{:convex_sidecar_config.markdown()}

  Start-up waits for nothing: until the program is ready, projections are answered
  `:unavailable`, and the asynchronous ones are remembered. The same holds in a VM without
  distribution (`mix test`, `RELEASE_DISTRIBUTION=none`): a warning and `health/1` say so, no
  program is started, and it starts by itself once the VM is distributed.

  After a start, if an event log is configured, every entity in it is projected once: the VM
  may have died between an append and its projection, and the marks of the asynchronous form
  died with it. An entity costs its row and its last event, and the sidecar answers
  `idempotent` for what it has. This runs in the background, after everything that changes
  meanwhile. For a history of millions of entities, where a document may be out of date
  until the next event of its entity, set `catch_up: false`.
  """

  alias OpenAgentsRuntime.Convex.{
    EventLog,
    HttpSink,
    Kinds,
    NoopSink,
    Projector,
    Sidecars,
    Sweep,
    Telemetry,
    Testing
  }

  require Logger

  @http_keys [:base_url, :admin_key, :request_timeout_ms]

  @doc "A child specification; `opts` override the configuration `convex_sidecar`."
  @spec child_spec(keyword()) :: Supervisor.child_spec()
  def child_spec(opts \\ []) do
    %{
      id: {__MODULE__, Keyword.get(opts, :name, name())},
      start: {__MODULE__, :start_link, [opts]},
      type: :supervisor,
      shutdown: :infinity
    }
  end

  @doc "Start the instance. The arguments that supervisors print contain no secret."
  @spec start_link(keyword()) :: Supervisor.on_start() | {:error, {:bad_option, atom(), String.t()}}
  def start_link(opts \\ []) do
    {testing, options} = opts |> options() |> Map.pop(:testing, :disabled)

    case Testing.check(testing) do
      {:ok, :disabled} -> start(opts, options)
      {:ok, _mode} -> :ignore
      {:error, _} = error -> error
    end
  end

  defp start(opts, options) do
    {catch_up, options} = Map.pop(options, :catch_up, has_event_log?())
    options = if has_event_log?(), do: Map.put_new(options, :sweep, Sweep), else: options
    options = Map.put_new(options, :changed, Telemetry)

    with :ok <- Kinds.check(),
         {:ok, pid} <- :convex_sidecar.start_link(options) do
      warn_of_kinds(own(opts)[:config])
      unless has_event_log?(), do: EventLog.say_none()
      if catch_up, do: catch_up(options)
      {:ok, pid}
    end
  end

  defp catch_up(options) do
    name = :convex_sidecar_config.name(options)

    for kind <- Kinds.all(), do: :ok = Projector.project_all_async(kind, sidecar: name)
  end

  # Kinds given only to the program are unknown to rebuilds, export and the columns that rows are cut down to.
  defp warn_of_kinds(config) do
    for {"kind." <> name, %{} = keys} <- by_name(given(config)),
        Map.keys(keys) -- ["mutation"] != [] do
      Logger.warning(
        "convex_sidecar: config [kind.#{name}] reaches the program alone; move it to " <>
          "config :openagents_runtime, convex_kinds: [#{name}: [...]], so that the projector, " <>
          "rebuilds, the audit's repair and export know it too"
      )
    end
  end

  defp has_event_log?, do: Application.get_env(:openagents_runtime, :convex_event_log) != nil

  @doc "Restart the program (a new binary is picked up) while the VM runs."
  @spec restart(keyword()) :: {:ok, %{gap_ms: non_neg_integer()}} | {:error, term()}
  def restart(opts \\ []), do: :convex_sidecar.restart(server(opts))

  @doc """
  `:ok` if projections reach the sidecar, and it delivers or will by itself; else why not, and a sentence that says
  what to do: `:stopped` and `:store_failing` need a person, the others concern the connection to the sidecar.
  For a health check of the application: it sends no request, so it costs almost nothing.
  """
  @spec health(keyword()) ::
          :ok
          | {:error,
             {:not_started
              | :not_connected
              | :stopped
              | :store_failing
              | :convex_sidecar_config.obstacle(), String.t()}}
  def health(opts \\ []) do
    if Testing.mode() == :disabled, do: :convex_sidecar.health(server(opts)), else: :ok
  end

  @doc """
  The state of everything, as this VM last heard it (it sends no request): `:sidecar`, `:endpoint`, `:mending`, `:store`,
  and `{:kind, name}` for each kind that ever failed, each with `state`, `why`, `next` and `since` (monotonic
  milliseconds). Each change is a log line and a telemetry event (`OpenAgentsRuntime.Convex.Telemetry`).
  """
  @spec state(keyword()) :: :convex_sidecar_state.shown()
  def state(opts \\ []), do: :convex_sidecar.state(server(opts))

  @doc "The sidecar's status map."
  @spec status(keyword()) :: {:ok, map()} | {:error, term()}
  def status(opts \\ []), do: :convex_sidecar.status(server(opts))

  @doc "The instance to use: option `:sidecar`, or the configured name."
  @spec server(keyword()) :: :convex_sidecar.server()
  def server(opts), do: Keyword.get(opts, :sidecar) || name()

  @doc "Whether there is a sidecar for these options (it may be down at the moment)."
  @spec configured?(keyword()) :: boolean()
  def configured?(opts) do
    case Sidecars.members(opts) do
      [name] when is_atom(name) ->
        :convex_sidecar_instance.lookup(name) != :error or
          Application.get_env(:openagents_runtime, :convex_sidecar) != nil

      _several_or_elsewhere ->
        true
    end
  end

  @doc "The options for `:convex_sidecar.start_link/1`, from the configuration and `opts`."
  @spec options(keyword()) :: map()
  def options(opts \\ []) do
    case own(opts) do
      %{mode: :external} = own -> own
      own -> Map.put(own, :config, fn -> config(own[:config]) end)
    end
  end

  defp own(opts), do: Map.merge(Map.new(env(:convex_sidecar, [])), Map.new(opts))

  defp name, do: :convex_sidecar_config.name(env(:convex_sidecar, []))

  # Called when the program is started, so that a changed key is read by the next restart.
  defp config(given) do
    given = given(given)
    sink = env(:convex_projection_sink, nil)
    named = by_name(given)["sink"] || %{}
    if sink == nil, do: check_sink_type(named)
    with {:error, bad} <- Kinds.check(), do: throw(bad)
    ours = if sink == nil and is_map_key(named, "base_url"), do: [], else: sink(sink)
    Kinds.sections() |> merge(ours ++ projection()) |> merge(given)
  end

  defp given(fun) when is_function(fun, 0), do: fun.()
  defp given(given), do: given || []

  # A base_url implies `type = http`; an admin key without one is an error.
  defp check_sink_type(keys) do
    key = Enum.find(["admin_key", "admin_key_file"], &is_map_key(keys, &1))

    if key && not is_map_key(keys, "type") && not is_map_key(keys, "base_url") do
      throw(
        {:bad_option, :config,
         "config [sink] base_url is missing, though #{key} is given; say where Convex is, or " <>
           "type: :noop to deliver nowhere"}
      )
    end
  end

  defp sink(none) when none in [nil, NoopSink], do: [{"sink", [type: :noop]}]

  # A sink of the user's own may call HttpSink (FanoutSink does), so HttpSink's deployment is configured.
  defp sink(sink) do
    http = env(:convex_http_sink, [])

    cond do
      http[:base_url] not in [nil, ""] ->
        http_sink(http)

      sink == HttpSink ->
        throw(
          {:bad_option, :convex_http_sink,
           "convex_http_sink must name base_url, as the sink is HttpSink"}
        )

      true ->
        [{"sink", [type: :noop]}]
    end
  end

  defp http_sink(http) do
    paths =
      for kind <- Kinds.all(),
          path = http[:"#{kind}_mutation_path"],
          path != Kinds.fetch!(kind).mutation,
          do: {"kind.#{kind}", [mutation: path]}

    singly = if paths == [], do: [], else: [batch_mutation: ""]
    keys = for key <- @http_keys, value = http[key], do: {key, value}
    [{"sink", [type: :http] ++ keys ++ singly} | paths]
  end

  defp projection do
    case env(:convex_projection_version, nil) do
      none when none in [nil, ""] -> []
      version -> [{"projection", [version: version]}]
    end
  end

  # Section by section, key by key; the given ones win.
  defp merge(ours, given) do
    Enum.reduce(given, by_name(ours), fn {section, keys}, sections ->
      Map.update(sections, to_string(section), by_name(keys), &Map.merge(&1, by_name(keys)))
    end)
    |> Map.new(fn {section, keys} -> {section, Map.new(keys)} end)
  end

  defp by_name(pairs),
    do: Map.new(pairs, fn {key, value} -> {to_string(key), by_name_value(value)} end)

  defp by_name_value(value) when is_list(value) and is_tuple(hd(value)), do: by_name(value)
  defp by_name_value(value), do: value

  defp env(key, default), do: Application.get_env(:openagents_runtime, key) || default
end
