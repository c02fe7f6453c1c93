defmodule OpenAgentsRuntime.Convex.CanonicalJson do
  @moduledoc """
  The canonical form of a projection document and its hash, in plain Elixir: the same bytes as the
  sidecar makes in C (folder `json`), but implemented independently, so that one can check the other.

  RFC 8785 JSON with Convex's `{"$integer": base64}` for integers beyond 2^53. `DateTime`,
  `NaiveDateTime`, `Date`, `Time` and `Decimal` become strings as Jason writes them; atoms become
  strings, except `nil`, `:null`, `:undefined` (null), `true` and `false`.
  """

  @max_plain 9_007_199_254_740_992
  @int64 -9_223_372_036_854_775_808..9_223_372_036_854_775_807

  @doc """
  The canonical JSON of `term`.

  Raises `ArgumentError` for what has no JSON form: tuples, pids, functions, other structs, integers
  beyond int64, binaries that are not UTF-8, a key given twice.
  """
  @spec encode(term) :: binary
  def encode(term), do: term |> value() |> IO.iodata_to_binary()

  @doc """
  `projection_hash` of a summary: lower-case hex SHA-256 of its canonical form without
  `projected_at` and `projection_hash`.
  """
  @spec hash(map) :: String.t()
  def hash(summary) when is_map(summary) do
    rest = Map.drop(summary, ["projected_at", :projected_at, "projection_hash", :projection_hash])
    :crypto.hash(:sha256, encode(rest)) |> Base.encode16(case: :lower)
  end

  defp value(nil), do: "null"
  defp value(:null), do: "null"
  defp value(:undefined), do: "null"
  defp value(true), do: "true"
  defp value(false), do: "false"
  defp value(atom) when is_atom(atom), do: string(Atom.to_string(atom))
  defp value(text) when is_binary(text), do: string(text)
  defp value(float) when is_float(float), do: number(float)
  defp value(list) when is_list(list), do: [?[, Enum.map_intersperse(list, ?,, &value/1), ?]]

  defp value(int) when is_integer(int) and abs(int) <= @max_plain, do: Integer.to_string(int)

  defp value(int) when is_integer(int) do
    if int not in @int64, do: raise(ArgumentError, "#{int} does not fit in 64 bits")
    [~S({"$integer":"), Base.encode64(<<int::little-signed-64>>), ~S("})]
  end

  defp value(%struct{} = time) when struct in [DateTime, NaiveDateTime, Date, Time],
    do: string(struct.to_iso8601(time))

  defp value(%{__struct__: Decimal, sign: sign, coef: coef, exp: exp}),
    do: string(decimal(sign, coef, exp))

  defp value(%_{} = struct), do: raise(ArgumentError, "no JSON form for #{inspect(struct)}")

  defp value(map) when is_map(map) do
    pairs = map |> Enum.map(fn {key, v} -> {key(key), v} end) |> Enum.sort_by(&utf16(elem(&1, 0)))

    if length(Enum.uniq_by(pairs, &elem(&1, 0))) < length(pairs),
      do: raise(ArgumentError, "a key stands twice in #{inspect(map)}")

    [?{, Enum.map_intersperse(pairs, ?,, fn {k, v} -> [string(k), ?:, value(v)] end), ?}]
  end

  defp value(other), do: raise(ArgumentError, "no JSON form for #{inspect(other)}")

  defp key(key) when is_binary(key), do: key
  defp key(key) when is_atom(key), do: Atom.to_string(key)
  defp key(key), do: raise(ArgumentError, "a key is neither atom nor binary: #{inspect(key)}")

  # RFC 8785 3.2.3: property names sort by UTF-16 code units.
  defp utf16(text), do: :unicode.characters_to_binary(text, :utf8, {:utf16, :big})

  defp string(text) do
    String.valid?(text) || raise ArgumentError, "not UTF-8: #{inspect(text)}"
    [?", escape(text, []), ?"]
  end

  defp escape("", done), do: Enum.reverse(done)
  defp escape(<<?", rest::binary>>, done), do: escape(rest, [~S(\") | done])
  defp escape(<<?\\, rest::binary>>, done), do: escape(rest, [~S(\\) | done])
  defp escape(<<?\b, rest::binary>>, done), do: escape(rest, [~S(\b) | done])
  defp escape(<<?\f, rest::binary>>, done), do: escape(rest, [~S(\f) | done])
  defp escape(<<?\n, rest::binary>>, done), do: escape(rest, [~S(\n) | done])
  defp escape(<<?\r, rest::binary>>, done), do: escape(rest, [~S(\r) | done])
  defp escape(<<?\t, rest::binary>>, done), do: escape(rest, [~S(\t) | done])

  defp escape(<<c, rest::binary>>, done) when c < 0x20,
    do: escape(rest, [[~S(\u00), Base.encode16(<<c>>, case: :lower)] | done])

  defp escape(<<c::utf8, rest::binary>>, done), do: escape(rest, [<<c::utf8>> | done])

  # ECMAScript Number::toString (RFC 8785 3.2.2.3): the shortest digits that read back, laid out by
  # the position of the decimal point.
  defp number(float) when float == 0, do: "0"
  defp number(float) when float < 0, do: [?-, number(-float)]

  defp number(float) do
    {digits, point} = float |> :erlang.float_to_binary([:short]) |> digits()
    count = byte_size(digits)

    cond do
      point in count..21 ->
        [digits, zeros(point - count)]

      point in 1..21 ->
        [binary_part(digits, 0, point), ?., binary_part(digits, point, count - point)]

      point in -5..0 ->
        ["0.", zeros(-point), digits]

      true ->
        exponent(digits, point - 1)
    end
  end

  defp exponent(<<first, rest::binary>>, exponent) do
    sign = if exponent < 0, do: "e-", else: "e+"
    [first, if(rest == "", do: "", else: [?., rest]), sign, Integer.to_string(abs(exponent))]
  end

  # "1.25e-7" -> {"125", -6}: the significant digits, and the point's position from their left.
  defp digits(text) do
    [mantissa | exponent] = String.split(text, "e")
    [whole, fraction] = String.split(mantissa, ".")
    exponent = exponent |> List.first("0") |> String.to_integer()
    significant = String.trim_leading(whole <> fraction, "0")
    leading = byte_size(whole <> fraction) - byte_size(significant)
    {String.trim_trailing(significant, "0"), byte_size(whole) - leading + exponent}
  end

  defp zeros(n), do: String.duplicate("0", n)

  # As Decimal.to_string/1, which Jason uses (scientific notation of the General Decimal Arithmetic specification).
  defp decimal(sign, coef, _exp) when coef in [:inf, :NaN],
    do: if(sign == -1, do: "-", else: "") <> if(coef == :inf, do: "Infinity", else: "NaN")

  defp decimal(sign, coef, exp) do
    digits = Integer.to_string(coef)
    adjusted = exp + byte_size(digits) - 1

    text =
      cond do
        exp == 0 -> digits
        exp < 0 and adjusted >= -6 -> plain_decimal(digits, -exp)
        true -> scientific_decimal(digits, adjusted)
      end

    if sign == -1, do: "-" <> text, else: text
  end

  defp plain_decimal(digits, places) do
    padded = String.pad_leading(digits, places + 1, "0")
    {whole, fraction} = String.split_at(padded, byte_size(padded) - places)
    whole <> "." <> fraction
  end

  defp scientific_decimal(<<first, rest::binary>>, adjusted) do
    sign = if adjusted < 0, do: "E-", else: "E+"

    <<first>> <>
      if(rest == "", do: "", else: "." <> rest) <> sign <> Integer.to_string(abs(adjusted))
  end
end
