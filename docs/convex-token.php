<?php
/*
 * convex-token.php - mints the tokens with which OpenAgents' users sign in to Convex, with PHP's openssl alone.
 *
 *   php convex-token.php key DIR                   a new key: DIR/<kid>.pem, mode 0600
 *   php convex-token.php jwks DIR                  the public half of every key in DIR, to serve as OPENAGENTS_JWKS
 *   php convex-token.php token DIR USER [GUEST]    a token for that user (or guest), to hand to the signed-in client
 *
 * OPENAGENTS_JWT_ISSUER and OPENAGENTS_JWT_AUDIENCE are those of the Convex deployment.  docs/TOKENS.md has the rest.
 */
declare(strict_types=1);

const LIFETIME_S = 300;
// A key signs when every cached copy of the JWKS that was made before it is gone.
const PUBLISHED_BEFORE_S = 600;

function must(mixed $value, string $what): mixed
{
    return $value === false ? throw new RuntimeException("$what: " . (openssl_error_string() ?: 'no reason given')) : $value;
}

function base64url(string $bytes): string
{
    return rtrim(strtr(base64_encode($bytes), '+/', '-_'), '=');
}

function json(mixed $value): string
{
    return json_encode($value, JSON_UNESCAPED_SLASHES | JSON_THROW_ON_ERROR);
}

/** The public half, as Convex reads it.  The key id is its thumbprint (RFC 7638): another key has another id. */
function jwk(OpenSSLAsymmetricKey $key): array
{
    $rsa = must(openssl_pkey_get_details($key), 'reading the key')['rsa'];
    [$e, $n] = [base64url($rsa['e']), base64url($rsa['n'])];
    $kid = base64url(hash('sha256', json(['e' => $e, 'kty' => 'RSA', 'n' => $n]), true));
    return ['kty' => 'RSA', 'use' => 'sig', 'alg' => 'RS256', 'kid' => $kid, 'n' => $n, 'e' => $e];
}

function new_key(string $dir): string
{
    // Convex refuses RSA keys of fewer than 2048 bits.
    $key = must(openssl_pkey_new(['private_key_bits' => 2048, 'private_key_type' => OPENSSL_KEYTYPE_RSA]), 'making a key');
    must(openssl_pkey_export($key, $pem), 'writing the key');
    $file = "$dir/" . jwk($key)['kid'] . '.pem';
    $old = umask(0077);
    must(file_put_contents($file, $pem), "writing $file");
    umask($old);
    return $file;
}

/** The key files, the newest first. */
function key_files(string $dir): array
{
    $files = glob("$dir/*.pem");
    if (!$files) throw new RuntimeException("there is no key in $dir: php convex-token.php key $dir");
    usort($files, fn ($a, $b) => filemtime($b) <=> filemtime($a));
    return $files;
}

function load(string $file): OpenSSLAsymmetricKey
{
    return must(openssl_pkey_get_private(must(file_get_contents($file), "reading $file")), "reading $file");
}

function jwks(string $dir): string
{
    return json(['keys' => array_map(fn ($file) => jwk(load($file)), key_files($dir))]);
}

/** The newest key that every verifier has heard of; when there is none yet, the oldest. */
function signing_key(string $dir): OpenSSLAsymmetricKey
{
    $files = key_files($dir);
    $known = array_filter($files, fn ($file) => filemtime($file) <= time() - PUBLISHED_BEFORE_S);
    return load(reset($known) ?: end($files));
}

function token(string $dir, string $user, ?string $guest_scope, string $issuer, string $audience): string
{
    $key = signing_key($dir);
    $now = time();
    $header = ['alg' => 'RS256', 'typ' => 'JWT', 'kid' => jwk($key)['kid']];
    // sub is a string: Convex answers an integer with 401.  No claim that differs from token to token (jti): Convex
    // keeps a query's result for each set of claims.
    $claims = ['iss' => $issuer, 'aud' => $audience, 'sub' => $user, 'iat' => $now, 'exp' => $now + LIFETIME_S];
    if ($guest_scope !== null) $claims['guest_scope'] = $guest_scope;
    $signed = base64url(json($header)) . '.' . base64url(json($claims));
    must(openssl_sign($signed, $signature, $key, OPENSSL_ALGO_SHA256), 'signing');
    return $signed . '.' . base64url($signature);
}

function setting(string $name): string
{
    return getenv($name) ?: throw new RuntimeException("$name is not set: it has the value that the Convex deployment has");
}

// Run as a program, not when another file includes this one.
if (PHP_SAPI === 'cli' && realpath($argv[0]) === __FILE__) {
    try {
        echo match ([$argv[1] ?? '', $argc >= 3]) {
            ['key', true] => new_key($argv[2]),
            ['jwks', true] => jwks($argv[2]),
            ['token', true] => token($argv[2], $argv[3] ?? throw new RuntimeException('whose token? name the user'),
                $argv[4] ?? null, setting('OPENAGENTS_JWT_ISSUER'), setting('OPENAGENTS_JWT_AUDIENCE')),
            default => throw new RuntimeException('usage: php convex-token.php key|jwks DIR, or token DIR USER [GUEST]'),
        }, "\n";
    } catch (RuntimeException $e) {
        fwrite(STDERR, 'convex-token: ' . $e->getMessage() . "\n");
        exit(1);
    }
}
