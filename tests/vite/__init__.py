"""The Vite example, built with what npm would publish."""
