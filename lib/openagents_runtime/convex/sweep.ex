defmodule OpenAgentsRuntime.Convex.Sweep do
  @moduledoc """
  What is projected once more when the sidecar finds that Convex is not what it left there
  (`:convex_sidecar_sweeper`): every entity of every kind, through the configured event log. It waits behind what
  changes meanwhile, in the VM and in the sidecar, and what stands in Convex is answered `idempotent`.

  The application hears of it as telemetry (`OpenAgentsRuntime.Convex.Telemetry`).
  """
  @behaviour :convex_sidecar_sweeper

  alias OpenAgentsRuntime.Convex.{EventLog, Kinds, Projector, Telemetry}

  @impl :convex_sidecar_sweeper
  def sources(name) do
    for kind <- Kinds.all(), EventLog.module([]) != nil do
      [{^name, source}] = Projector.sweep_sources([sidecar: name], :sweep)
      {kind, source}
    end
  end

  @impl :convex_sidecar_sweeper
  def told(name, what, info), do: Telemetry.swept(name, what, info)
end
