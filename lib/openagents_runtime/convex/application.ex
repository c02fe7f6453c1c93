defmodule OpenAgentsRuntime.Convex.Application do
  @moduledoc false
  # What runs without a sidecar: the queue of sinks that are called in this VM. Sidecars are
  # started by the runtime, under a supervisor of its own (OpenAgentsRuntime.Convex.Sidecar).
  use Application

  @impl true
  def start(_type, _args) do
    Supervisor.start_link([OpenAgentsRuntime.Convex.SinkQueue], strategy: :one_for_one)
  end
end
