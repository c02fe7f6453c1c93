defmodule OpenAgentsRuntime.Convex.BigNumbers do
  @moduledoc """
  Integers beyond 64 bits, which Convex cannot store. They come from PostgreSQL's `jsonb`, which returns the float
  `1.0e21` as an integer of 22 digits.

      config :openagents_runtime, convex_big_numbers: :float

  | value | such an integer becomes |
  | --- | --- |
  | `:float` (default) | the nearest float, as in JavaScript and the runtime's own HttpSink; text if it is beyond any float |
  | `:text` | its decimal digits, as text |
  | `:refuse` | itself: the sidecar refuses the document, `{:invalid, path, why}` |

  This applies to what goes to the sidecar. A sink of your own gets the number itself.
  """

  @int64 -9_223_372_036_854_775_808..9_223_372_036_854_775_807

  @doc "The term with such integers replaced, as the configuration says."
  @spec sendable(term()) :: term()
  def sendable(term) do
    case Application.get_env(:openagents_runtime, :convex_big_numbers) || :float do
      :refuse -> term
      treatment -> treat(term, treatment)
    end
  end

  defp treat(int, treatment) when is_integer(int) and int not in @int64, do: number(int, treatment)
  defp treat(list, treatment) when is_list(list), do: Enum.map(list, &treat(&1, treatment))
  defp treat(%_{} = struct, _treatment), do: struct

  defp treat(map, treatment) when is_map(map),
    do: :maps.map(fn _key, value -> treat(value, treatment) end, map)

  defp treat(term, _treatment), do: term

  defp number(int, :text), do: Integer.to_string(int)

  defp number(int, :float) do
    :erlang.float(int)
  rescue
    ArgumentError -> Integer.to_string(int)
  end
end
