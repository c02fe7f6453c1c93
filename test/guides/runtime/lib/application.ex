defmodule OpenAgentsRuntime.Application do
  @moduledoc "The runtime's tree: the sidecar comes after the Repo and before what resumes runs."
  use Application

  @impl true
  def start(_type, _args) do
    env = &Application.fetch_env!(:openagents_runtime, &1)

    children = [
      {OpenAgentsRuntime.Repo, port: env.(:database_port), driver: env.(:driver)},
      {Registry, keys: :duplicate, name: OpenAgentsRuntime.PubSub},
      {OpenAgentsRuntime.Convex.Sidecar, store_dir: env.(:store_dir)},
      OpenAgentsRuntime.RuntimeSupervisor
    ]

    Supervisor.start_link(children, strategy: :one_for_one, name: OpenAgentsRuntime.Supervisor)
  end
end

defmodule OpenAgentsRuntime.RuntimeSupervisor do
  @moduledoc "Executors and workers, and those who start and resume them."
  use Supervisor

  def start_link(_), do: Supervisor.start_link(__MODULE__, [], name: __MODULE__)

  @impl true
  def init(_) do
    children = [
      {Registry, keys: :unique, name: OpenAgentsRuntime.Registry},
      {DynamicSupervisor, name: OpenAgentsRuntime.Executors, max_restarts: 1_000_000},
      OpenAgentsRuntime.Runs.Janitor,
      OpenAgentsRuntime.Codex.Supervisor
    ]

    Supervisor.init(children, strategy: :one_for_one)
  end

  @doc "Start `module` for this id, which dies when it dies; one at a time."
  def start_once(module, id) do
    spec = %{id: id, start: {Task, :start_link, [fn -> registered(module, id) end]}, restart: :temporary}
    with [] <- alive(module, id), {:ok, _} <- DynamicSupervisor.start_child(OpenAgentsRuntime.Executors, spec), do: :ok
  end

  @doc "Who does it now."
  def alive(module, id), do: Registry.lookup(OpenAgentsRuntime.Registry, {module, id})

  defp registered(module, id) do
    with {:ok, _} <- Registry.register(OpenAgentsRuntime.Registry, {module, id}, nil), do: module.run(id)
  end
end

defmodule OpenAgentsRuntime.EventLog do
  @moduledoc "What docs/guides/from-http-sink.md tells to write."
  use OpenAgentsRuntime.Convex.SqlEventLog,
    query: &OpenAgentsRuntime.Repo.query!/2,
    in_transaction?: &OpenAgentsRuntime.Repo.in_transaction?/0
end
