defmodule OpenAgentsRuntime.Convex.OwnModules do
  @moduledoc false
  # Checks that the loaded modules are this library's. The runtime that it is made for has modules with the same
  # names, and if both are present, the order of the code path silently decides which one is loaded.

  @doc false
  @spec check(module()) :: :ok | {:error, {:modules_of_another, String.t()}}
  def check(app \\ :convex_sidecar) do
    own = app |> Application.app_dir("ebin") |> Path.expand()

    foreign =
      for module <- Application.spec(app, :modules) || [],
          path = path(module),
          Path.dirname(path) != own,
          do: {module, path}

    if foreign == [], do: :ok, else: {:error, {:modules_of_another, text(foreign)}}
  end

  # Nil for a module without a file: missing, cover-compiled, or loaded from memory.
  defp path(module) do
    case :code.which(module) do
      [_ | _] = path -> path |> List.to_string() |> Path.expand()
      _ -> nil
    end
  end

  @doc false
  def text(foreign) do
    names = foreign |> Enum.map(&inspect(elem(&1, 0))) |> Enum.sort() |> Enum.join(", ")
    dir = foreign |> hd() |> elem(1) |> Path.dirname()

    "convex_sidecar does not start: another application (#{dir}) defines modules of the same names: #{names}. " <>
      "Delete their files from that application; convex_sidecar takes their place (docs/guides/from-http-sink.md)"
  end
end
