defmodule OpenAgentsRuntime.Convex.JsonText do
  @moduledoc false
  # Decodes JSON as PostgreSQL writes it: objects are maps with text keys, numbers without a
  # point are integers of any size, `null` is nil. Invalid JSON raises ArgumentError.

  @doc false
  @spec decode(binary()) :: term()
  def decode(text) do
    case value(blank(text)) do
      {term, rest} -> if blank(rest) == "", do: term, else: bad(rest)
    end
  end

  defp value("{" <> rest), do: object(blank(rest), [])
  defp value("[" <> rest), do: array(blank(rest), [])
  defp value("\"" <> rest), do: string(rest, rest, 0, [])
  defp value("true" <> rest), do: {true, rest}
  defp value("false" <> rest), do: {false, rest}
  defp value("null" <> rest), do: {nil, rest}
  defp value(text), do: number(text)

  defp object("}" <> rest, pairs), do: {Map.new(pairs), rest}
  defp object("," <> rest, [_ | _] = pairs), do: pair(blank(rest), pairs)
  defp object(text, []), do: pair(text, [])
  defp object(text, _pairs), do: bad(text)

  defp pair("\"" <> rest, pairs) do
    {key, rest} = string(rest, rest, 0, [])

    case blank(rest) do
      ":" <> rest ->
        {value, rest} = value(blank(rest))
        object(blank(rest), [{key, value} | pairs])

      other ->
        bad(other)
    end
  end

  defp pair(text, _pairs), do: bad(text)

  defp array("]" <> rest, items), do: {Enum.reverse(items), rest}
  defp array("," <> rest, [_ | _] = items), do: item(blank(rest), items)
  defp array(text, []), do: item(text, [])
  defp array(text, _items), do: bad(text)

  defp item(text, items) do
    {value, rest} = value(text)
    array(blank(rest), [value | items])
  end

  # `from` is where the current piece without escapes starts, `size` its length in bytes so far.
  defp string("\"" <> rest, from, size, []), do: {binary_part(from, 0, size), rest}

  defp string("\"" <> rest, from, size, done),
    do: {IO.iodata_to_binary([done | binary_part(from, 0, size)]), rest}

  defp string("\\" <> rest, from, size, done) do
    {character, rest} = escape(rest)
    string(rest, rest, 0, [done, binary_part(from, 0, size) | character])
  end

  defp string(<<_byte, rest::binary>>, from, size, done), do: string(rest, from, size + 1, done)
  defp string("", _from, _size, _done), do: bad("")

  defp escape("n" <> rest), do: {"\n", rest}
  defp escape("t" <> rest), do: {"\t", rest}
  defp escape("r" <> rest), do: {"\r", rest}
  defp escape("b" <> rest), do: {"\b", rest}
  defp escape("f" <> rest), do: {"\f", rest}

  defp escape(<<"u", high::binary-4, "\\u", low::binary-4, rest::binary>>)
       when binary_part(high, 0, 2) in ~w(d8 d9 da db D8 D9 DA DB) do
    {<<String.to_integer(high, 16)::16, String.to_integer(low, 16)::16>>
     |> :unicode.characters_to_binary({:utf16, :big}), rest}
  end

  defp escape(<<"u", hex::binary-4, rest::binary>>),
    do: {<<String.to_integer(hex, 16)::utf8>>, rest}

  defp escape(<<character, rest::binary>>) when character in ~c("\\/), do: {<<character>>, rest}
  defp escape(rest), do: bad(rest)

  # A number with a point or an exponent that exceeds a float loses its fraction rather than its magnitude.
  defp number(text) do
    case Regex.run(~r/\A(-?\d+)(\.\d+)?([eE][+-]?\d+)?/, text) do
      [whole, whole] ->
        {String.to_integer(whole), rest(text, whole)}

      [all, whole, fraction | exponent] ->
        fraction = if fraction == "", do: ".0", else: fraction
        {to_float(whole, fraction, List.first(exponent, "")), rest(text, all)}

      nil ->
        bad(text)
    end
  end

  defp to_float(whole, fraction, exponent) do
    String.to_float(whole <> fraction <> exponent)
  rescue
    ArgumentError -> if exponent == "", do: String.to_integer(whole), else: bad(whole <> exponent)
  end

  defp rest(text, all), do: binary_part(text, byte_size(all), byte_size(text) - byte_size(all))

  defp blank(<<byte, rest::binary>>) when byte in ~c( \n\r\t), do: blank(rest)
  defp blank(text), do: text

  @spec bad(binary()) :: no_return()
  defp bad(rest),
    do: raise(ArgumentError, "no JSON: #{inspect(binary_part(rest, 0, min(20, byte_size(rest))))}")
end
