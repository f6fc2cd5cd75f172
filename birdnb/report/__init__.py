"""Write the report: collect the numbers, put them into words and tables, render the pages."""
