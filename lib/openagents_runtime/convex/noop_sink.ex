defmodule OpenAgentsRuntime.Convex.NoopSink do
  @moduledoc "Writes nothing and answers `:ok`; the default."
  use OpenAgentsRuntime.Convex.Sink

  @impl true
  def upsert(_kind, _document_id, _summary, _opts), do: :ok
end
