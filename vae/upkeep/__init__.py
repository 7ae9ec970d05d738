"""What a store holds after a year: its runs listed, and what nobody needs any more removed."""
