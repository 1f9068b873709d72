SELECT hash FROM {schema}.seals WHERE number = $1
